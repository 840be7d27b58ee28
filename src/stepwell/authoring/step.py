"""``step()``: a function whose outcome is recorded.

All forms give a ``Step``; what happens when one is called is told in ``execution/steps.py``.
"""

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from stepwell import codec
from stepwell.checks import check_float, check_int, check_name
from stepwell.durations import Duration, parse_ms
from stepwell.execution.call import is_async
from stepwell.execution.steps import RetryPolicy, StepSpec, run_step

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
I = TypeVar("I")  # noqa: E741
S = TypeVar("S")
_MISSING: Final[Any] = object()
_OPTIONS: Final = frozenset({
    "retries", "retry_delay", "backoff", "max_retry_delay", "jitter", "timeout", "retry_on", "on_error", "compensate", "key",
    "at_most_once",
})  # fmt: skip


class Step(Generic[P, R_co]):
    """A function whose outcome is recorded when it is called in a workflow. Outside of one it just runs."""

    def __init__(self, name: str, fn: Callable[..., Any], options: dict[str, Any], *, input: Any = _MISSING) -> None:
        self.name = name
        self.fn = fn
        self._options = options
        self._input = input
        self.spec = _spec(name, fn, options)
        functools.update_wrapper(self, fn, assigned=("__module__", "__doc__", "__name__", "__qualname__"), updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Return the recorded result, or run the function and record it.

        Raises:
            StepFailed: The last attempt failed, now or when it was recorded. (Outside of a workflow: the function's own error.)

        Durability: recorded before anything that the workflow does next has an effect.
        """
        if self._input is not _MISSING:
            return run_step(self.spec, (self._input,), {})
        return run_step(self.spec, args, kwargs)

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self: "Step[Concatenate[S, Q], R]", instance: S, owner: type, /) -> "Step[Q, R]": ...
    def __get__(self, instance: Any, owner: type, /) -> Any:
        if instance is None:
            return self
        bound = functools.partial(self.fn, instance)
        functools.update_wrapper(bound, self.fn)
        return Step[Any, Any](self.name, bound, self._options, input=self._input)

    def options(self, **options: Any) -> Self:
        """Return a copy with other options; those not named stay as they are. ``name`` is one of them here."""
        name = options.pop("name", self.name)
        return type(self)(check_name(name, "step name"), self.fn, {**self._options, **options}, input=self._input)

    def __repr__(self) -> str:
        return f"<step {self.name!r}>"


class _StepDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Step[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...


def _spec(name: str, fn: Callable[..., Any], options: dict[str, Any]) -> StepSpec:
    unknown = set(options) - _OPTIONS
    if unknown:
        raise TypeError(f"step {name!r}: unknown option {', '.join(sorted(unknown))}; there are {', '.join(sorted(_OPTIONS))}")
    if not callable(fn):
        raise TypeError(f"step {name!r} needs a function, not {type(fn).__name__}")
    if not options:
        return StepSpec(
            name=name, fn=fn, policy=_DEFAULT, timeout_ms=None, on_error=None, key=None, at_most_once=False,
            returns=_returns(fn), is_plainly_async=is_async(fn),
        )  # fmt: skip
    timeout = options.get("timeout")
    key = options.get("key")
    policy = _policy(options)
    timeout_ms = None if timeout is None else parse_ms(timeout, bare="ms", field="timeout")
    return StepSpec(
        name=name,
        fn=fn,
        policy=policy,
        timeout_ms=timeout_ms,
        on_error=_on_error(options.get("on_error")),
        key=None if key is None else check_name(str(key), "key"),
        at_most_once=bool(options.get("at_most_once", False)),
        returns=_returns(fn),
        is_plainly_async=timeout is None and is_async(fn),
        compensate=_compensation(name, options.get("compensate"), policy, timeout_ms),
    )


def _compensation(name: str, undo: Any, policy: RetryPolicy, timeout_ms: int | None) -> StepSpec | None:
    """Return the step that undoes another: with that one's name, and its own options if it is a step, else that one's."""
    if undo is None:
        return None
    on_error: Callable[[Exception], Any] | None = None
    if isinstance(undo, Step):
        spec, undo = undo.spec, undo.fn
        policy, timeout_ms, on_error = spec.policy, spec.timeout_ms, spec.on_error
    if not callable(undo):
        raise TypeError(f"compensate takes a function of the step's result, not {undo!r}")
    return StepSpec(
        name=name, fn=undo, policy=policy, timeout_ms=timeout_ms, on_error=on_error, key=None, at_most_once=False, returns=None,
        is_plainly_async=timeout_ms is None and is_async(undo), completes="compensation_completed", fails="compensation_failed",
        waits="compensation",
    )  # fmt: skip


_DEFAULT: Final = RetryPolicy()


def _policy(options: dict[str, Any]) -> RetryPolicy:
    longest = options.get("max_retry_delay")
    return RetryPolicy(
        retries=check_int(options.get("retries", 0), "retries", 0, 1_000_000),
        delay_ms=parse_ms(options.get("retry_delay", 1000), bare="ms", field="retry_delay"),
        backoff=check_float(options.get("backoff", 1.0), "backoff", 1, 1_000),
        delay_max_ms=None if longest is None else parse_ms(longest, bare="ms", field="max_retry_delay"),
        jitter=check_float(options.get("jitter", 0.0), "jitter", 0, 1_000),
        retry_on=_retry_on(options.get("retry_on", Exception)),
    )


def _retry_on(kinds: Any) -> Any:
    # A wrong one would raise only when a step has failed: in the run, instead of where the mistake is.
    each: tuple[Any, ...] = kinds if type(kinds) is tuple else (kinds,)  # pyright: ignore[reportUnknownVariableType]
    for kind in each:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"retry_on takes an exception class, or a tuple of them, not {kinds!r}")
    return each


def _on_error(told: Any) -> Any:
    if told is not None and not callable(told):
        raise TypeError(f"on_error takes a function of the error, not {told!r}")
    return told


_returned: Final[dict[Any, Any]] = {}
_RETURNED_MAX: Final = 10_000


def _returns(fn: Callable[..., Any]) -> Any:
    # A lambda has no annotations, and inline steps are made anew at each call: keyed by code, the look-up is made once.
    function = inspect.unwrap(fn)
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if not getattr(function, "__annotations__", None) or "return" not in function.__annotations__:
        return None
    found = _returned.get(function, _MISSING)
    if found is _MISSING:
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except Exception:
            hints = {}
        if len(_returned) > _RETURNED_MAX:
            _returned.clear()
        found = _returned[function] = codec.decoder_for(hints.get("return"))
    return found


@overload
def step(fn: Callable[P, Awaitable[R]], /) -> Step[P, R]: ...
@overload
def step(fn: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    name: str, fn: Callable[[I], Awaitable[R]], /, *, input: I, retries: int = ..., retry_delay: Duration = ...,
    backoff: float = ..., max_retry_delay: Duration | None = ..., jitter: float = ..., timeout: Duration | None = ...,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = ..., on_error: Callable[[Exception], object] | None = ...,
    compensate: Callable[[R], object] | None = ..., key: str | None = ..., at_most_once: bool = ...,
) -> Step[[], R]: ...  # fmt: skip
@overload
def step(
    name: str, fn: Callable[[I], R], /, *, input: I, retries: int = ..., retry_delay: Duration = ...,
    backoff: float = ..., max_retry_delay: Duration | None = ..., jitter: float = ..., timeout: Duration | None = ...,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = ..., on_error: Callable[[Exception], object] | None = ...,
    compensate: Callable[[R], object] | None = ..., key: str | None = ..., at_most_once: bool = ...,
) -> Step[[], R]: ...  # fmt: skip
@overload
def step(
    name: str, fn: Callable[P, Awaitable[R]], /, *, retries: int = ..., retry_delay: Duration = ...,
    backoff: float = ..., max_retry_delay: Duration | None = ..., jitter: float = ..., timeout: Duration | None = ...,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = ..., on_error: Callable[[Exception], object] | None = ...,
    compensate: Callable[[R], object] | None = ..., key: str | None = ..., at_most_once: bool = ...,
) -> Step[P, R]: ...  # fmt: skip
@overload
def step(
    name: str, fn: Callable[P, R], /, *, retries: int = ..., retry_delay: Duration = ...,
    backoff: float = ..., max_retry_delay: Duration | None = ..., jitter: float = ..., timeout: Duration | None = ...,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = ..., on_error: Callable[[Exception], object] | None = ...,
    compensate: Callable[[R], object] | None = ..., key: str | None = ..., at_most_once: bool = ...,
) -> Step[P, R]: ...  # fmt: skip
@overload
def step(
    name: str, /, *, retries: int = ..., retry_delay: Duration = ..., backoff: float = ...,
    max_retry_delay: Duration | None = ..., jitter: float = ..., timeout: Duration | None = ...,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = ..., on_error: Callable[[Exception], object] | None = ...,
    compensate: Callable[[Any], object] | None = ..., key: str | None = ..., at_most_once: bool = ...,
) -> _StepDecorator: ...  # fmt: skip
def step(name: Any, fn: Any = None, /, *, input: Any = _MISSING, **options: Any) -> Any:
    """Make a step: ``step("fetch", fetch)(user_id)`` inline, ``@step("charge", retries=3)`` or ``@step`` as a decorator.

    Args:
        name: How it is recorded: 1 to 200 characters. With a function alone, the function's name.
        fn: ``async def``, or plain ``def``, which runs in a thread.
        input: The one argument of ``fn``; the step is then called with none.
        options: ``retries`` (0; further attempts after the first), ``retry_delay`` (1000; a bare number is milliseconds),
            ``backoff`` (1.0; the delay grows by this factor), ``max_retry_delay`` (None), ``jitter`` (0.0; up to this fraction
            is added), ``timeout`` (None; of one attempt), ``retry_on`` (Exception), ``on_error`` (None; called with the error
            after the last attempt), ``compensate`` (None; called with the result if the run fails or is cancelled after the step
            was completed, and retried like the step), ``key`` (None; pins the identity to a business id instead of an ordinal),
            ``at_most_once`` (False).

    Raises:
        ValidationError: An option is out of bounds, or the name is none.
        TypeError: An unknown option, or no function.
    """
    if callable(name) and fn is None and not isinstance(name, str):
        return Step[Any, Any](check_name(getattr(name, "__name__", type(name).__name__), "step name"), name, options)
    checked = check_name(name, "step name")
    if fn is not None:
        return Step[Any, Any](checked, fn, options, input=input)
    if input is not _MISSING:
        raise TypeError("input= goes with a function: step(name, fn, input=value)")
    _spec(checked, _nothing, options)

    def decorate(function: Callable[..., Any]) -> Step[Any, Any]:
        return Step[Any, Any](checked, function, options)

    return decorate


def _nothing() -> None:
    """Stands in where only the options are checked."""
