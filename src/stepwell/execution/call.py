"""Calls a user's function, blocking or not: the only bridge to threads, and the words in which a failure is recorded."""

import asyncio
import builtins
import contextvars
import inspect
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, cast

import msgspec

from stepwell.errors import RemoteFailure, StepFailed, qualified_name

MESSAGE_LENGTH_MAX: Final = 4_000
TRACEBACK_LENGTH_MAX: Final = 16_000
_ORIGINS: Final = "__stepwell_origins__"
_CHAIN_MAX: Final = 20
_HERE: Final = __file__.rsplit("execution", 1)[0]


class FailureRecord(msgspec.Struct, frozen=True):
    """An exception as it is recorded; ``kinds`` are the names of its class and of all it derives from. Never unpickled."""

    type: str
    message: str
    kinds: tuple[str, ...] = ()
    step: str | None = None
    attempts: int = 1
    traceback: str | None = None

    def as_step_failed(self, kind: builtins.type[StepFailed] = StepFailed) -> StepFailed:
        """Return the exception that the workflow sees, live and replayed."""
        failed = kind(self.step or "", type=self.type, message=self.message, attempts=self.attempts, kinds=self.kinds)
        failed.traceback = self.traceback
        return failed


def came_from(error: BaseException, *origins: str) -> None:
    """Note of which operations' failure an exception tells: identities of steps, ``run:<id>`` for another run."""
    error.__dict__.setdefault(_ORIGINS, []).extend(origins)


def origins_of(error: BaseException | None) -> list[str]:
    """Return the operations whose failure an exception tells, or came from: its own, its group's, its cause's."""
    found: list[str] = []
    for _ in range(_CHAIN_MAX):
        if error is None or found:
            break
        found += getattr(error, _ORIGINS, ())
        if isinstance(error, BaseExceptionGroup):
            for member in cast("BaseExceptionGroup[BaseException]", error).exceptions:
                found += origins_of(member)
        error = error.__cause__ or error.__context__
    return list(dict.fromkeys(found))


async def call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], threads: Executor | None) -> Any:
    """Call a function and return its result; a plain one in a thread, with the context copied, so that it never blocks the loop.

    If a plain function returns an awaitable, that is awaited on the loop.
    """
    if is_async(fn):
        return await fn(*args, **kwargs)
    context = contextvars.copy_context()
    succeeded, result = await asyncio.get_running_loop().run_in_executor(
        threads, context.run, partial(_attempt, fn, args, kwargs)
    )
    if not succeeded:
        raise result
    return await result if inspect.isawaitable(result) else result


def is_async(fn: Callable[..., Any]) -> bool:
    """Tell whether calling this gives an awaitable without blocking: an ``async def``, bound, partial, or as ``__call__``."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _attempt(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    # StopIteration cannot travel through a future, so every exception travels as a value.
    try:
        return True, fn(*args, **kwargs)
    except BaseException as error:
        return False, error


def describe(error: BaseException, *, step: str | None = None, attempts: int = 1, remark: str = "") -> FailureRecord:
    """Return what is recorded of an exception: bounded, and never raising, whatever its ``str`` does."""
    if isinstance(error, RemoteFailure):
        failed_step = error.step if isinstance(error, StepFailed) else step
        tries = error.attempts if isinstance(error, StepFailed) else attempts
        kinds = _kinds(error)
        traces = printable((_trace(error) or "") + (error.traceback or ""), TRACEBACK_LENGTH_MAX) or None
        return FailureRecord(
            type=error.type, message=error.message, kinds=kinds, step=failed_step, attempts=tries, traceback=traces
        )
    message = _text(error) + (f" ({remark})" if remark else "")
    return FailureRecord(
        type=qualified_name(type(error)),
        message=message,
        kinds=_kinds(error),
        step=step,
        attempts=attempts,
        traceback=_trace(error),
    )


def _kinds(error: BaseException) -> tuple[str, ...]:
    if isinstance(error, RemoteFailure):
        return error.kinds
    return tuple(qualified_name(kind) for kind in type(error).__mro__ if kind is not object)


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:
        text = f"<its text could not be made: {type(broken).__name__}>"
    return printable(text, MESSAGE_LENGTH_MAX)


def _trace(error: BaseException) -> str | None:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__, limit=200) if not frame.filename.startswith(_HERE)]
    return printable("".join(traceback.format_list(frames)), TRACEBACK_LENGTH_MAX) or None


def printable(text: str, length_max: int) -> str:
    """Return text that every store takes: bounded, without U+0000 and lone surrogates."""
    if len(text) > length_max:
        text = f"{text[:length_max]}... ({len(text)} characters)"
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
