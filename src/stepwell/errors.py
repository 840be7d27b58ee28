"""Every exception of stepwell: one tree, each with a ``code`` that never changes.

It knows nothing of stores, servers or workers. Data is carried as attributes; the text is for people.
"""

import builtins
from typing import Any, ClassVar


class StepwellError(Exception):
    """Anything that stepwell raises."""

    code: ClassVar[str] = "error"


class NotFoundError(StepwellError):
    """There is no such thing: a run, a hook, a workflow, a record."""

    code = "not_found"


class ConflictError(StepwellError):
    """The request does not fit what is recorded: an id taken by other input, a run that is over, an answered hook.

    Attributes:
        hook: The hook that was answered before, with the answer that stands; None in all other cases.
    """

    code = "conflict"

    def __init__(self, message: str, hook: Any = None) -> None:
        super().__init__(message)
        self.hook = hook


class FencedError(ConflictError):
    """This node's lease is gone: what it was doing no longer counts. Stop, and touch nothing; the new owner repeats it."""

    code = "fenced"


class ValidationError(StepwellError, ValueError):
    """Input that was refused. Nothing was changed.

    Attributes:
        field: The field that is wrong, with a JSON pointer behind it where it lies deeper (``input/0/userId``), or "".
    """

    code = "validation"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidDurationError(ValidationError):
    """A duration that cannot be read. The text shows the forms that can."""

    code = "invalid_duration"


class NotSerializableError(ValidationError, TypeError):
    """A value that has no JSON form. ``pointer`` says where in it (``/a/1/b``; "" is the value itself)."""

    code = "not_serializable"

    def __init__(self, message: str, *, field: str = "", pointer: str = "") -> None:
        super().__init__(message, field=field)
        self.pointer = pointer


class PayloadTooLargeError(StepwellError):
    """A value whose JSON text is longer than the limit. Nothing was stored.

    Attributes:
        size_bytes: How long it is, in UTF-8 bytes.
        limit_bytes: How long it may be.
    """

    code = "payload_too_large"

    def __init__(self, message: str, *, size_bytes: int = 0, limit_bytes: int = 0) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class AuthenticationError(StepwellError):
    """No valid key was given."""

    code = "authentication"


class PermissionDeniedError(StepwellError):
    """The key does not allow this."""

    code = "permission_denied"


class RateLimitedError(StepwellError):
    """Too many requests. Nothing was done. Try again after ``retry_after`` seconds, where it is given.

    Attributes:
        retry_after: Seconds, or None.
        limit: The setting that was exceeded, or None.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: float | None = None, limit: str | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit


class UnavailableError(StepwellError):
    """The engine or its store could not be reached.

    Attributes:
        outcome_known: True if it is known that nothing was done; False if it may have been done.
    """

    code = "unavailable"

    def __init__(self, message: str, *, outcome_known: bool = True) -> None:
        super().__init__(message)
        self.outcome_known = outcome_known


class CorruptStoreError(UnavailableError):
    """The store's file is damaged, foreign, or newer than this code. Nothing was changed in it."""

    code = "corrupt_store"


class ForkedClientError(StepwellError):
    """A client was opened before a fork and used after it. Open one in the child."""

    code = "forked_client"


class DuplicateWorkflowError(StepwellError):
    """Two functions under one workflow name and version."""

    code = "duplicate_workflow"


class RemoteFailure(StepwellError):
    """What failed ran elsewhere, or in an earlier life of this process; only its description is left.

    Attributes:
        type: The class of the original error, as ``ValueError`` or ``package.module.Name``.
        message: Its text, bounded.
        kinds: The names of its class and of all that it derives from.
        traceback: Where it was raised, as text for people, bounded; None where that is not known.
    """

    code = "failure"

    def __init__(self, text: str, *, type: str, message: str, kinds: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.type = type
        self.message = message
        self.kinds = kinds
        self.traceback: str | None = None

    def is_a(self, kind: type[BaseException]) -> bool:
        """Tell whether the original error was of this class or of one derived from it. Compared by name."""
        return qualified_name(kind) in self.kinds


class StepFailed(RemoteFailure):
    """A step used up its attempts. The same, live and replayed.

    Attributes:
        step: The step's name.
        attempts: How many times its body was tried.
    """

    code = "step_failed"

    def __init__(self, step: str, *, type: str, message: str, attempts: int, kinds: tuple[str, ...] = ()) -> None:
        tries = "" if attempts == 1 else f" after {attempts} attempts"
        super().__init__(f"step {step!r} failed{tries}: {type}: {message}", type=type, message=message, kinds=kinds)
        self.step = step
        self.attempts = attempts


class StepInterrupted(StepFailed):
    """An ``at_most_once`` step was under way when its process was lost. Whether its effect happened is not known."""

    code = "step_interrupted"


class RunFailed(RemoteFailure):
    """The run whose result was asked for has failed. ``run`` is that run."""

    code = "run_failed"

    def __init__(self, text: str, *, type: str, message: str, run: Any = None, kinds: tuple[str, ...] = ()) -> None:
        super().__init__(text, type=type, message=message, kinds=kinds)
        self.run = run


class ChildFailed(RunFailed):
    """A child run, waited for by its parent, has failed or was cancelled."""

    code = "child_failed"


class RunCancelled(StepwellError):
    """The run whose result was asked for was cancelled. ``run`` is that run, ``reason`` what the canceller gave."""

    code = "run_cancelled"

    def __init__(self, text: str, *, reason: str | None = None, run: Any = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.run = run


class SignalTimeout(StepwellError, TimeoutError):
    """No signal of this name arrived in time. ``name`` is the signal's."""

    code = "signal_timeout"

    def __init__(self, text: str, *, name: str) -> None:
        super().__init__(text)
        self.name = name


class StepTimeout(StepwellError, TimeoutError):
    """One attempt of a step took longer than its ``timeout``."""

    code = "step_timeout"


class HookExpired(StepwellError):
    """A hook was not answered before it expired."""

    code = "hook_expired"


class NonDeterminismError(StepwellError):
    """The workflow's code asks for something else than its history records.

    The run is not failed: it goes on when code that fits is deployed.

    Attributes:
        recorded: What the history has at that place.
        asked: What the code asked for.
        line: ``file:line`` of the call, or "".
    """

    code = "non_determinism"

    def __init__(self, text: str, *, recorded: str, asked: str, line: str = "") -> None:
        super().__init__(text)
        self.recorded = recorded
        self.asked = asked
        self.line = line


class CircuitBreakerError(StepwellError):
    """A run reached one of its limits."""

    code = "circuit_breaker"


class ExecutionTimeoutError(CircuitBreakerError):
    """The run's ``execution_timeout`` is over."""

    code = "execution_timeout"


class MaxEventsError(CircuitBreakerError):
    """The run's ``max_events`` is reached."""

    code = "max_events"


class NonRetryableError(StepwellError):
    """Raised by users in a step: do not try again, whatever ``retries`` says."""

    code = "non_retryable"


def kinds_of(name: str) -> tuple[str, ...]:
    """Return the names of a recorded class and of all it derives from, as far as it is built in or one of these; else itself."""
    kind = globals().get(name.removeprefix(f"{__name__}."), getattr(builtins, name, None))
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return tuple(qualified_name(each) for each in kind.__mro__ if each is not object)
    return (name,)


def qualified_name(kind: type[BaseException]) -> str:
    """Return the name by which an exception class is recorded: bare for built-in ones, with its module otherwise."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
