"""Which asyncio tasks belong to a run, and whether they all wait for something durable.

asyncio tells neither, so while runs are executed on a loop its task factory is wrapped: a task that is started from a branch
of a run gets a branch of its own, and is told to the run. Code that makes tasks around the loop's factory (``asyncio.Task(...)``)
shares the branch that it came from; its durable calls must then be made in the same order each time.
"""

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Container, Coroutine, Iterable
from types import CoroutineType, FrameType
from typing import Any, Final, Protocol, cast

from stepwell.execution.branch import Branch, current


class TaskOwner(Protocol):
    """What wants to know of the tasks of a run."""

    def joined(self, task: "asyncio.Task[Any]", context: contextvars.Context) -> None: ...


_watched: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int]] = weakref.WeakKeyDictionary()


def watch(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Tell runs of the tasks that are started in them; return what ends that."""
    count = _watched.get(loop, 0)
    _watched[loop] = count + 1
    if count == 0:
        previous = loop.get_task_factory()

        def factory(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
            branch = current.get()
            if not isinstance(branch, Branch):
                return _create(previous, loop, coro, options)
            # Python 3.11 does not tell a task's context, so the task is given one that is known.
            context: contextvars.Context = options.pop("context", None) or contextvars.copy_context()
            context.run(current.set, branch.task())
            task = _create(previous, loop, coro, {**options, "context": context})
            owner: TaskOwner = branch.execution
            owner.joined(task, context)
            return task

        loop.set_task_factory(cast("Any", factory))
        _restore[loop] = (previous, factory)

    def unwatch() -> None:
        left = _watched[loop] = _watched[loop] - 1
        if left == 0 and not loop.is_closed():
            before, ours = _restore.pop(loop)
            if loop.get_task_factory() is ours:
                loop.set_task_factory(before)

    return unwatch


_restore: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, Any]]] = weakref.WeakKeyDictionary()


def _create(
    factory: Any, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], options: dict[str, Any]
) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **options) if factory is None else factory(loop, coro, **options)


_JOINING: Final = frozenset({
    ("asyncio/taskgroups.py", "__aexit__"), ("asyncio/tasks.py", "_wait"), ("asyncio/tasks.py", "_wait_for_one"),
    ("asyncio/locks.py", "acquire"), ("asyncio/locks.py", "wait"), ("asyncio/queues.py", "get"), ("asyncio/queues.py", "put"),
    ("asyncio/queues.py", "join"),
})  # fmt: skip


def is_blocked(task: "asyncio.Task[Any]") -> bool:
    """Tell whether a task awaits something that has not happened yet. What it awaited may be over while its turn is to come,
    and a task that has ended has still to tell those who wait for it.
    """
    waiter: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
    return waiter is not None and not waiter.done()


def waits_for_tasks(task: "asyncio.Task[Any]", own: Container[object]) -> bool:
    """Tell whether a task waits for its run's ``own`` tasks (gather, a task group, a lock, a queue) and not for the outside."""
    waiter: Any = getattr(task, "_fut_waiter", None)
    if isinstance(waiter, asyncio.Task):
        return waiter in own
    if type(waiter).__name__ == "_GatheringFuture":
        children: list[asyncio.Future[Any]] = getattr(waiter, "_children", [])
        return all(child.done() or child in own for child in children)
    frame = _innermost(task.get_coro())
    if frame is None:
        return False
    place = "/".join(frame.f_code.co_filename.replace("\\", "/").rsplit("/", 2)[-2:])
    return (place, frame.f_code.co_name) in _JOINING


def _innermost(awaited: Any) -> FrameType | None:
    frame = None
    while isinstance(awaited, CoroutineType):
        frame = awaited.cr_frame or frame
        awaited = awaited.cr_await
    return frame


def throw_away(tasks: Iterable[tuple["asyncio.Task[Any]", contextvars.Context]]) -> list[BaseException]:
    """Close the coroutines of tasks that will never go on: they see ``GeneratorExit`` where they wait.

    Returns what they raised instead of ending: an ``await`` in a ``finally``, for example.
    """
    raised: list[BaseException] = []
    left = [(task, context) for task, context in tasks if not task.done()]
    for task, context in left:
        task.add_done_callback(look_away)
        coroutine = task.get_coro()
        if isinstance(coroutine, CoroutineType):
            try:
                context.run(coroutine.close)
            except BaseException as error:
                raised.append(error)
    for task, _ in left:
        # Its coroutine is over; this ends the task itself, which asyncio would otherwise keep as pending for ever.
        task.cancel()
    return raised


def look_away(task: "asyncio.Task[Any]") -> None:
    """Fetch the exception of a task that nobody will ask for, so that asyncio does not complain."""
    if not task.cancelled():
        task.exception()
