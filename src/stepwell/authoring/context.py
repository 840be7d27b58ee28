"""The ``ctx`` of a workflow function."""

import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, MutableMapping, Sequence
from datetime import datetime
from random import Random
from typing import Any, Final, TypeVar, overload
from uuid import UUID

from stepwell import codec
from stepwell.checks import check_name
from stepwell.durations import Duration, from_ms, parse_ms, to_ms
from stepwell.errors import ValidationError
from stepwell.execution import marks, waits
from stepwell.execution import parallel as branches_at_once
from stepwell.execution.executor import Execution, Here
from stepwell.execution.here import branch_here
from stepwell.execution.identity import derived_int, derived_random
from stepwell.execution.tokens import parse_token, unknown_hook
from stepwell.model import Hook, Run

T = TypeVar("T")
R = TypeVar("R")
I = TypeVar("I")  # noqa: E741
K = TypeVar("K", bound=Hashable)
_log: Final = logging.getLogger("stepwell.workflow")


class Context:
    """What a workflow can do besides steps, and what it can know of its run. Everything here is the same on replay."""

    def __init__(self, execution: Execution) -> None:
        assignment = execution.assignment
        self._execution = execution
        self.run_id: str = assignment.run_id
        self.parent_run_id: str | None = assignment.parent_run_id
        self.workflow_name: str = assignment.workflow
        self.attempt: int = assignment.attempt
        """1, rising with each retry of the run."""
        self.started_at: datetime = from_ms(execution.history.started_ms or assignment.started_at_ms)
        self.tags: Sequence[str] = tuple(assignment.tags)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that says nothing while the past is replayed."""
        return _SilentOnReplay(_log, self._execution)

    def _here(self, what: str) -> Here:
        branch = branch_here()
        if branch is None or branch.execution is not self._execution:
            raise ValidationError(f"ctx.{what} is for the workflow's own code, not for the body of a step", field=what)
        return branch

    async def parallel(self, branches: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]], limit: int | None = None) -> list[T]:
        """Run branches at the same time, at most ``limit`` at once; return their results in order.

        Raises:
            The first error in branch order, once all have ended; the others are attached as notes.
        """
        self._here("parallel")
        return await branches_at_once.parallel(branches, limit)

    async def map(self, fn: Callable[[I], Awaitable[R]], items: Iterable[I], /, *, limit: int | None = None) -> list[R]:
        """Call ``fn`` with each item, as ``parallel`` does."""
        self._here("map")
        return await branches_at_once.parallel([_Call(fn, item) for item in items], limit)

    async def race(self, branches: Mapping[K, Awaitable[T] | Callable[[], Awaitable[T]]]) -> tuple[K, T]:
        """Return ``(key, value)`` of the branch that ends first; the others are closed, and never swallow a later signal."""
        self._here("race")
        return await branches_at_once.race(branches)

    async def sleep(self, duration: Duration, /) -> None:
        """Sleep durably: the run costs nothing meanwhile, survives restarts, and is never early.

        Args:
            duration: ``"1h30m"``, a timedelta, or a bare number: from 1000 up milliseconds, below seconds.

        Raises:
            InvalidDurationError: Anything else.
        """
        await waits.sleep_until(self._here("sleep"), None, parse_ms(duration, bare="specification", field="duration"))

    async def sleep_until(self, when: datetime, /) -> None:
        """Sleep durably until a time. One that is past returns at once.

        Raises:
            ValidationError: ``when`` has no time zone.
        """
        await waits.sleep_until(self._here("sleep_until"), to_ms(when, field="when"))

    @overload
    async def wait_for_signal(self, name: str, timeout: Duration | None = None, type: None = None) -> Any: ...
    @overload
    async def wait_for_signal(self, name: str, timeout: Duration | None = None, *, type: type[T]) -> T: ...
    async def wait_for_signal(self, name: str, timeout: Duration | None = None, type: Any = None) -> Any:
        """Return the payload of the next signal of this name: in the order sent, each once; one sent before is kept.

        Args:
            timeout: How long to wait (for ever). A signal that was stored before it is over beats it.
            type: What to decode the payload into.

        Raises:
            SignalTimeout: None came in time.
            ValidationError: The payload does not fit ``type``. The text names the field. The signal is consumed.
        """
        here = self._here("wait_for_signal")
        timeout_ms = None if timeout is None else parse_ms(timeout, bare="specification", field="timeout")
        return codec.decode(await waits.wait_for_signal(here, check_name(name, "signal name"), timeout_ms), type)

    async def start_child(self, workflow: Any, input: Any = None, **options: Any) -> Run[Any]:
        """Trigger a run whose parent is this one; do not wait for it. It goes on when this run ends first.

        Args:
            workflow: Its name, or the ``Workflow``.
            options: Those of ``client.workflow.trigger``.
        """
        self._here("start_child")
        return await self._execution.host.flows.trigger(workflow, input, parent_run_id=self.run_id, **options)

    async def run_child(self, workflow: Any, input: Any = None, *, timeout: Duration | None = None, **options: Any) -> Any:
        """Trigger a run whose parent is this one, wait for it durably, and return its output.

        Args:
            timeout: How long to wait (for ever). A bare number is seconds. The child goes on.
            options: Those of ``client.workflow.trigger``.

        Raises:
            ChildFailed: It failed, or was cancelled.
            TimeoutError: It is not over in time.
        """
        child = await self.start_child(workflow, input, **options)
        return await self._execution.host.flows.result(child, timeout)

    async def emit(self, event_type: str, payload: Any = None) -> None:
        """Append an event of your own to this run's history. It counts toward ``max_events``."""
        self._here("emit")
        await self._execution.host.flows.emit_event(self.run_id, event_type, payload)

    async def create_hook(self, name: str, action: str, payload: Any = None, *, expires: Duration | None = None) -> Hook:
        """Make a token with which somebody outside can answer this run; each call makes one of its own.

        See ``client.workflow.create_hook``.
        """
        self._here("create_hook")
        return await self._execution.host.flows.create_hook(self.run_id, name, action, payload, expires=expires)

    @overload
    async def wait_for_hook(self, token: str, timeout: Duration | None = None, type: None = None) -> Any: ...
    @overload
    async def wait_for_hook(self, token: str, timeout: Duration | None = None, *, type: type[T]) -> T: ...
    async def wait_for_hook(self, token: str, timeout: Duration | None = None, type: Any = None) -> Any:
        """Wait durably for the answer to a hook of this run, and return its payload. An answer that came before is kept.

        Args:
            timeout: How long to wait (until the hook expires).
            type: What to decode the payload into.

        Raises:
            TimeoutError: No answer came in time.
            HookExpired: The hook expired first.
            NotFoundError: The token is none of this run's.
            ValidationError: The payload does not fit ``type``. The text names the field.
        """
        here, parts = self._here("wait_for_hook"), parse_token(token)
        if parts.run_id != self.run_id and parts.run_id not in self._execution.history.sources:
            raise unknown_hook()
        timeout_ms = None if timeout is None else parse_ms(timeout, bare="specification", field="timeout")
        try:
            answer = await waits.wait_for_hook(here, parts.hook_id, parts.expires_ms, timeout_ms)
        except waits.TimedOut:
            raise TimeoutError("the hook was not answered in time") from None
        return codec.decode(answer, type)

    async def set_state(self, state: Any) -> None:
        """Show something on the run, as ``Run.state``, while it runs and after. Costs one event.

        Args:
            state: Any JSON value; it replaces what was shown before.

        Raises:
            NotSerializableError, PayloadTooLargeError: It cannot be recorded.
        """
        host = self._execution.host
        text = codec.encode(state, field="state", limit_bytes=host.payload_bytes_max, depth_max=host.depth_max)
        await marks.set_state(self._here("set_state"), text)

    async def patched(self, change_id: str) -> bool:
        """Tell whether this run goes the new way at a change of the code: True for runs that reach this place for the first time
        after the change, False for those that had recorded something behind it. Costs one event; the same for the whole run.

        Raises:
            ValidationError: ``change_id`` is no name.
        """
        return await marks.patched(self._here("patched"), check_name(change_id, "change_id"))

    def now(self) -> datetime:
        """Return the recorded time at which this branch's latest operation ended. Costs no event."""
        return from_ms(self._here("now").now_ms)

    def random(self) -> Random:
        """Return a generator that gives the same numbers on replay. Not for secrets."""
        return derived_random(self._execution.assignment.seed, self._here("random").operation("random"))

    def uuid4(self) -> UUID:
        """Return a UUID that is the same on replay."""
        return UUID(int=derived_int(self._execution.assignment.seed, self._here("uuid4").operation("uuid4")), version=4)


async def wait_for_approval(token: str, timeout: Duration | None = None) -> Any:
    """Wait durably for the answer to a hook, in the body of the workflow that it belongs to: ``ctx.wait_for_hook``, as a
    function of its own.
    """
    branch = branch_here()
    if branch is None:
        raise ValidationError("wait_for_approval is for the workflow's own code", field="wait_for_approval")
    return await Context(branch.execution).wait_for_hook(token, timeout)


class _Call:
    __slots__ = ("_fn", "_item")

    def __init__(self, fn: Callable[[Any], Awaitable[Any]], item: Any) -> None:
        self._fn = fn
        self._item = item

    def __call__(self) -> Awaitable[Any]:
        return self._fn(self._item)


class _SilentOnReplay(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, logger: logging.Logger, execution: Execution) -> None:
        super().__init__(logger, {"run_id": execution.run_id, "workflow": execution.assignment.workflow})
        self._execution = execution

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        return not self._execution.history.is_replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{self._execution.run_id}: {msg}", kwargs
