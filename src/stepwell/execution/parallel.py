"""Several branches at once: all of them, or the first."""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping
from typing import Any, TypeVar, cast

from stepwell import codec
from stepwell.checks import check_int
from stepwell.errors import ValidationError
from stepwell.execution.call import came_from, origins_of
from stepwell.execution.executor import Execution
from stepwell.execution.here import branch_here, for_ever, gone, is_past, past
from stepwell.execution.tasks import look_away
from stepwell.progress import NewEvent

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Startable = Awaitable[T] | Callable[[], Awaitable[T]]


async def parallel(branches: Iterable[Startable[T]], limit: int | None = None) -> list[T]:
    """Run all, at most ``limit`` at once; wait for all; return the results in order, or raise the first error in branch order.

    The other errors are attached to it as notes.
    """
    started = list(branches)
    if limit is not None:
        check_int(limit, "limit", 1, 1_000_000)
    here = branch_here()
    if here is None:
        return await _plainly(started, limit)
    execution = here.execution
    if execution.closed or here.is_closed:
        await gone(here)
        for item in started:
            _discard(item)
        return []
    identity = here.parallel()
    execution.is_branched = True
    forks = [here.fork(identity, index) for index in range(len(started))]
    todo = deque(range(len(started)))
    tasks: list[asyncio.Task[T] | None] = [None] * len(started)
    everything = asyncio.get_running_loop().create_future()
    left = len(started)

    def start_next() -> None:
        if todo and not execution.closed and not here.is_closed:
            index = todo.popleft()
            task = execution.tasks.spawn(forks[index], _coroutine(started[index]))
            tasks[index] = task
            task.add_done_callback(ended)

    def ended(task: asyncio.Task[T]) -> None:
        nonlocal left
        left -= 1
        if not task.cancelled():
            task.exception()
        start_next()
        if left == 0 and not everything.done():
            everything.set_result(None)

    try:
        for _ in range(len(started) if limit is None else min(limit, len(started))):
            start_next()
        if started:
            await _joined(execution, everything)
    finally:
        for index in todo:
            _discard(started[index])
        for task in tasks:
            if task is not None and not task.done():
                task.cancel()
    here.now_ms = max((fork.now_ms for fork in forks), default=here.now_ms)
    return _gathered([task for task in tasks if task is not None])


async def _plainly(started: list[Startable[T]], limit: int | None) -> list[T]:
    gate = asyncio.Semaphore(limit or max(1, len(started)))

    async def one(item: Startable[T]) -> T:
        async with gate:
            return await begin(item)

    return _gathered(await _all_settled([asyncio.ensure_future(one(item)) for item in started]))


async def _all_settled(tasks: list["asyncio.Task[T]"]) -> list["asyncio.Task[T]"]:
    if tasks:
        await asyncio.wait(tasks)
    return tasks


def _gathered(tasks: list["asyncio.Task[T]"]) -> list[T]:
    errors = [_error(task) for task in tasks]
    failed = [error for error in errors if error is not None]
    if failed:
        first = failed[0]
        for other in failed[1:]:
            came_from(first, *origins_of(other))
            first.add_note(f"another branch failed too: {type(other).__name__}: {other}")
        raise first
    return [task.result() for task in tasks]


def _error(task: "asyncio.Task[Any]") -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def begin(item: Startable[T]) -> T:
    """Await an awaitable, or what a callable without arguments returns."""
    if inspect.isawaitable(item):
        return await item
    if not callable(item):
        raise TypeError(f"a branch must be an awaitable or a function without arguments, not {item!r:.80}")
    return await item()


def _coroutine(item: Startable[T]) -> Coroutine[Any, Any, T]:
    # A coroutine is its task's own: were it wrapped, a task that ends before its first turn would leave it never awaited.
    return cast("Coroutine[Any, Any, T]", item) if isinstance(item, Coroutine) else begin(item)


def _discard(item: object) -> None:
    if isinstance(item, Coroutine):
        item.close()


async def _joined(execution: Execution, future: "asyncio.Future[Any]") -> None:
    task = asyncio.current_task()
    execution.tasks.joining.add(task)
    if execution.waits:
        execution.rest.look()
    try:
        await future
    finally:
        execution.tasks.joining.discard(task)


async def race(branches: Mapping[K, Startable[T]]) -> tuple[K, T]:
    """Return ``(key, value)`` of the first branch to end, or raise its error. The others are closed: they do nothing any more."""
    items = list(branches.items())
    if not items:
        raise ValidationError("race needs at least one branch", field="branches")
    here = branch_here()
    if here is None:
        raise ValidationError("race is for workflows", field="branches")
    execution = here.execution
    if execution.closed or here.is_closed:
        for _, item in items:
            _discard(item)
        await gone(here)
        await for_ever()
    execution.is_branched = True
    identity = here.operation("race")
    forks = [here.fork(identity, index) for index in range(len(items))]
    record = execution.history.ask(identity)
    if record is not None and record.outcome is not None:
        winner = int(codec.decode(record.outcome.payload)["winner"])
        execution.history.forget_below(f"{identity}/", f"{identity}/{winner}/")
        starters = [winner]
        # Only by going through its past again can the compensations of a loser's steps be known.
        losers = [
            index for index, fork in enumerate(forks)
            if index != winner and execution.history.is_compensated_below(fork.path)
        ]  # fmt: skip
        for index in losers:
            forks[index].is_past = True
    else:
        starters, losers = list(range(len(items))), list[int]()
    first = asyncio.get_running_loop().create_future()
    tasks: dict[asyncio.Task[T], int] = {}

    def ended(task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()
        if not first.done():
            first.set_result(task)

    try:
        for index in losers:
            execution.tasks.spawn(forks[index], _coroutine(items[index][1])).add_done_callback(look_away)
        for index in starters:
            task = execution.tasks.spawn(forks[index], _coroutine(items[index][1]))
            tasks[task] = index
            task.add_done_callback(ended)
        await _joined(execution, first)
    finally:
        for task, index in tasks.items():
            if not task.done():
                forks[index].close()
                task.cancel()
        for index in set(range(len(items))) - {*tasks.values(), *losers}:
            _discard(items[index][1])
    won: asyncio.Task[T] = first.result()
    winner = tasks[won]
    if record is None or record.outcome is None:
        if execution.closed or here.is_closed:
            await gone(here)
            await for_ever()
        if is_past(here):
            await past(here)
            await for_ever()
        here.now_ms = execution.time()
        payload = f'{{"winner":{winner},"key":{codec.encode(str(items[winner][0]), field="key")}}}'
        execution.record(NewEvent("race_won", identity, "", payload, here.now_ms))
        execution.history.forget_below(f"{identity}/", f"{identity}/{winner}/")
    else:
        here.now_ms = record.outcome.at_ms
    return items[winner][0], won.result()
