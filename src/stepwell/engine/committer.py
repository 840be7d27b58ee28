"""Group commit: gathers what clients and runs want to write while the last commit is under way, and commits it as one.

One batch is in flight. What became of a batch whose answer was lost is found out before the next. Rules 1 to 6 of the write
path (ARCHITECTURE.md) are kept here, as far as they are not the store's.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from stepwell.errors import FencedError, StepwellError, UnavailableError
from stepwell.failpoints import counters
from stepwell.progress import Held, Progress, Recorded, Refused, WriteRecords
from stepwell.settings import Settings
from stepwell.store.base import (
    Batch,
    BatchState,
    Claim,
    Claimed,
    Committed,
    DataRefused,
    NotApplied,
    Operation,
    OutcomeUnknown,
    Result,
    Store,
    StoredRun,
    Triggered,
)

_log: Final = logging.getLogger("stepwell.engine")
_BACKOFF_MS: Final = (5, 10, 20, 50, 100, 200, 500)
T = TypeVar("T")


class Owner(Protocol):
    """The node, as its committer sees it."""

    node_id: str

    def lease_ms(self) -> int | None: ...

    def is_awaited(self, run_id: str) -> bool:
        """Whether somebody waits for the end of a run."""
        ...

    def recorded(self, held: Held, progress: Progress, outcome: Recorded | Refused) -> None:
        """A run's progress was settled."""
        ...

    def over(self, stored: StoredRun) -> None:
        """A run whose end is awaited is over."""
        ...

    def moved_others(self, committed: Committed) -> None:
        """A batch has moved runs that none of its operations names."""
        ...

    def unheard(self, triggered: Triggered) -> None:
        """A trigger was committed, and who asked for it does not wait for the answer any more."""
        ...

    async def reborn(self) -> None:
        """The node was fenced: drop everything, come back under a new id."""
        ...

    def stopped(self) -> None:
        """Nothing will be committed any more, though nobody has closed the node: drop what is held."""
        ...

    async def forgot(self) -> None:
        """A batch was applied, its results are lost: compare what the store says is owned with what is held."""
        ...


class _Item:
    """An operation of a client, and who waits for its result."""

    __slots__ = ("deadline", "followers", "future", "operation", "size")

    def __init__(self, operation: Operation, future: "asyncio.Future[Any]", deadline: float, followers: int = 0) -> None:
        self.operation = operation
        self.followers = followers
        """How many of those behind it are to be committed together with it."""
        self.size = operation.size if isinstance(operation, WriteRecords) else 0
        self.future = future
        self.deadline = deadline


_MANY: Final = 250
"""So many that wait for a commit are worth one without others."""

_SHOWN_MAX: Final = 100
"""Of so many runs that end in a batch the store tells at once how they ended; who waits for others asks for himself."""

_Entry = _Item | tuple[Held, Progress]


class Committer:
    """Writes for one node."""

    def __init__(self, store: Store, settings: Settings, owner: Owner) -> None:
        self.number = 0
        """The node's batch number, as its row has it."""
        self._store = store
        self._settings = settings
        self._owner = owner
        self._queue: deque[_Item] = deque()
        self._in_flight: list[_Entry] = []
        self._offered: deque[Held] = deque()
        self._between: list[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = []
        self._renewals: list[asyncio.Future[None]] = []
        self._idle: asyncio.Future[None] | None = None
        self._space: asyncio.Event = asyncio.Event()
        self._space.set()
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._last_error = ""
        self._behind = 0
        """How many were told of their commit, and have not gone on yet."""

    def start(self) -> None:
        """Begin to commit."""
        self._task = self._loop.create_task(self._work(), name="stepwell-committer")
        self._task.add_done_callback(self._stopped)

    async def close(self) -> None:
        """Commit what is there, and end."""
        if self._task is None:
            return
        if self._queue or self._offered:
            with contextlib.suppress(StepwellError):
                await self.between(_nothing)
        await self.abandon()

    async def abandon(self) -> None:
        """End at once; what is not committed is not."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._refuse_all()

    def _stopped(self, task: "asyncio.Task[None]") -> None:
        if self._task is task:
            # Not by ``abandon``: a loop that comes to its end cancels all tasks at once. Who waits would wait for ever.
            self._task = None
            self._refuse_all()
            self._owner.stopped()

    def _refuse_all(self) -> None:
        asked = [entry.future for entry in (*self._queue, *self._in_flight) if isinstance(entry, _Item)]
        for future in (*asked, *self._renewals, *(future for _, future in self._between)):
            if not future.done():
                future.set_exception(UnavailableError("the engine was closed", outcome_known=False))
        self._queue.clear()
        self._between, self._renewals = [], []

    # -- what comes in

    async def submit(self, operation: Operation) -> Any:
        """Commit an operation and return its result.

        Raises:
            UnavailableError: The store did not answer within the patience of the settings.
        """
        (result,) = await self.submit_all([operation])
        return result

    async def submit_all(self, operations: Sequence[Operation]) -> list[Any]:
        """Commit operations in one batch and return their results. Raises as ``submit``."""
        while len(self._queue) >= self._settings.queue_operations_max:
            self._space.clear()
            await self._space.wait()
        self._must_live()
        late = self._loop.time() + self._settings.patience_ms / 1000
        futures: list[asyncio.Future[Any]] = [self._loop.create_future() for _ in operations]
        followers = range(len(operations) - 1, -1, -1)
        self._queue.extend(map(_Item, operations, futures, itertools.repeat(late), followers))
        self._wake()
        if len(futures) == 1:
            return [await futures[0]]
        return await asyncio.gather(*futures)

    def _must_live(self) -> None:
        if self._task is None:
            raise UnavailableError("the engine is closed")

    def offer(self, held: Held) -> None:
        """The run has progress to commit."""
        self._offered.append(held)
        self._wake()

    async def renew(self) -> None:
        """Return when a commit has renewed the lease."""
        self._must_live()
        future: asyncio.Future[None] = self._loop.create_future()
        self._renewals.append(future)
        self._wake()
        await future

    async def between(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the store while no batch is in flight, so that the answer fits what is held."""
        self._must_live()
        future: asyncio.Future[T] = self._loop.create_future()
        self._between.append((question, future))
        self._wake()
        return await future

    def _wake(self) -> None:
        idle = self._idle
        if idle is not None and not idle.done():
            self._idle = None
            idle.set_result(None)

    # -- what goes out

    async def _work(self) -> None:
        while True:
            if self._between:
                await self._ask()
            batch = self._gather()
            if batch:
                await self._commit_safely(batch)
                self._behind = len(batch) if self._is_followed() else 0
                if self._behind:
                    continue  # the store works on these while those go on
                # Who waited for this has its say first, so that what it does next is in the next batch; a client twice,
                # because its signal reaches the end of a run in a second turn of the loop.
                await asyncio.sleep(0)
                if any(isinstance(entry, _Item) for entry in batch):
                    await asyncio.sleep(0)
            elif self._renewals:
                await self._commit_safely([])
            elif not self._between:
                self._idle = self._loop.create_future()
                await self._idle
                await asyncio.sleep(0)

    def _is_followed(self) -> bool:
        return len(self._queue) + len(self._offered) >= _MANY

    async def _ask(self) -> None:
        if self._queue or self._offered:
            batch = self._gather()
            if batch:
                await self._commit_safely(batch)
        questions, self._between = self._between, []
        for question, future in questions:
            try:
                answer = await question()
            except StepwellError as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(answer)

    def _gather(self) -> list[_Entry]:
        entries: list[_Entry] = []
        room, size = self._settings.batch_operations_max, self._settings.batch_bytes_max
        queue = self._queue
        waiting = len(queue) + len(self._offered) + self._behind
        if waiting >= 2 * _MANY:
            # Half of them, so that the store and who waits for it do not wait for each other.
            room = min(room, (waiting + 1) // 2)
        together = 0
        # What belongs together waits for the next batch together, unless it is too much for any.
        while queue and (together or (len(entries) + queue[0].followers < room and size > 0) or not entries):
            item = queue.popleft()
            together = item.followers
            size -= item.size
            entries.append(item)
        if not self._space.is_set() and len(queue) < self._settings.queue_operations_max:
            self._space.set()
        offered = self._offered
        while offered and len(entries) < room and size > 0:
            held = offered.popleft()
            progress = held.take()
            if progress is not None:
                entries.append((held, progress))
                for event in progress.events:
                    size -= len(event.payload)
                for writing in progress.writings:
                    size -= writing.request.size
        return entries

    async def _commit_safely(self, entries: list[_Entry]) -> None:
        self._in_flight = entries
        try:
            await self._commit(entries)
        except Exception as error:
            # Not foreseen. Whoever waits is told, and what is held is compared with what is stored; then it goes on.
            counters["commit.error"] += 1
            if str(error) != self._last_error:
                self._last_error = str(error)
                _log.exception("a commit failed in a way that is not known")
            for entry in entries:
                if not isinstance(entry, _Item):
                    entry[0].interrupt("lost")
                elif not entry.future.done():
                    entry.future.set_exception(UnavailableError(f"the commit failed: {error}", outcome_known=False))
            await asyncio.sleep(_BACKOFF_MS[-1] / 1000)
            await self._until_done(self._owner.forgot)
        finally:
            self._in_flight = []

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what must be done before the next batch, as often as the store makes it necessary."""
        tries = 0
        while True:
            try:
                await work()
                return
            except Exception as error:
                self._complain(error)
                await asyncio.sleep(_BACKOFF_MS[min(tries, len(_BACKOFF_MS) - 1)] / 1000)
                tries += 1

    async def _commit(self, entries: list[_Entry]) -> None:
        tries = 0
        while True:
            try:
                await self._commit_once(entries)
            except NotApplied as error:
                counters["commit.not_applied"] += 1
                self._complain(error)
                entries = self._give_up_late(entries, error)
                await asyncio.sleep(_BACKOFF_MS[min(tries, len(_BACKOFF_MS) - 1)] / 1000)
                tries += 1
            else:
                self._last_error = ""
                return

    async def _commit_once(self, entries: list[_Entry]) -> None:
        batch = Batch(
            node_id=self._owner.node_id, number=self.number, batch_id=secrets.token_hex(8), lease_ms=self._owner.lease_ms(),
            operations=[entry.operation if isinstance(entry, _Item) else entry[1] for entry in entries],
            awaited=self._awaited(entries), is_followed=self._is_followed,
        )  # fmt: skip
        try:
            committed = await self._store.commit(batch)
        except OutcomeUnknown as error:
            counters["commit.outcome_unknown"] += 1
            _log.warning("the outcome of a commit is not known, asking: %s", error)
            await self._find_out(batch, entries, error)
            return
        except FencedError:
            await self._fenced(entries)
            return
        except DataRefused as error:
            counters["commit.data_refused"] += 1
            await self._halve(entries, error)
            return
        self.number += 1
        for stored in committed.shown:
            self._owner.over(stored)
        self._hand_out(entries, committed.results)
        self._owner.moved_others(committed)

    def _awaited(self, entries: list[_Entry]) -> list[str]:
        ending = [entry[0].run_id for entry in entries if not isinstance(entry, _Item) and entry[1].final is not None]
        return [run_id for run_id in ending if self._owner.is_awaited(run_id)][:_SHOWN_MAX]

    def _hand_out(self, entries: list[_Entry], results: list[Result]) -> None:
        renewals, self._renewals = self._renewals, []
        for renewal in renewals:
            if not renewal.done():
                renewal.set_result(None)
        for entry, result in zip(entries, results, strict=True):
            if isinstance(entry, _Item):
                if not entry.future.done():
                    entry.future.set_result(result)
                elif isinstance(result, Triggered):
                    self._owner.unheard(result)
            else:
                held, progress = entry
                assert isinstance(result, Recorded | Refused)
                held.settled(result)
                self._owner.recorded(held, progress, result)

    async def _find_out(self, batch: Batch, entries: list[_Entry], error: OutcomeUnknown) -> None:
        state: BatchState | None = None

        async def ask() -> None:
            nonlocal state
            state = await self._store.batch_state(batch.node_id)

        await self._until_done(ask)
        if state is not None and state.alive and state.number == batch.number:
            counters["commit.unknown_not_applied"] += 1
            raise NotApplied(f"{error}; it has turned out that it was not done")
        if state is None or state.batch_id != batch.batch_id:
            await self._fenced(entries)
            return
        counters["commit.unknown_applied"] += 1
        self.number = state.number
        # What clients asked for carries ids of their own: asked again, each answers what became of it the first time.
        self._resend(entries)
        for entry in entries:
            if not isinstance(entry, _Item):
                entry[0].interrupt("lost")
        await self._until_done(self._owner.forgot)

    async def _fenced(self, entries: list[_Entry]) -> None:
        counters["fenced"] += 1
        self._resend(entries)
        await self._until_done(self._owner.reborn)

    def _resend(self, entries: list[_Entry]) -> None:
        for entry in reversed(entries):
            if not isinstance(entry, _Item):
                continue
            if isinstance(entry.operation, Claim):
                if not entry.future.done():
                    entry.future.set_result(Claimed([], more=True))
            else:
                self._queue.appendleft(entry)

    async def _halve(self, entries: list[_Entry], error: DataRefused) -> None:
        if len(entries) > 1:
            middle = len(entries) // 2
            for half in (entries[:middle], entries[middle:]):
                await self._commit(half)
            return
        _log.error("the store refuses an operation for good: %s", error)
        for entry in entries:
            if isinstance(entry, _Item):
                if not entry.future.done():
                    entry.future.set_exception(error)
            else:
                entry[0].interrupt("lost")

    def _give_up_late(self, entries: list[_Entry], error: StepwellError) -> list[_Entry]:
        now, left = self._loop.time(), list[_Entry]()
        late = UnavailableError(f"the store could not be written for {self._settings.patience_ms} ms: {error}; nothing was done")
        for entry in (*entries, *self._queue):
            is_late = isinstance(entry, _Item) and entry.deadline < now
            if isinstance(entry, _Item) and is_late and not entry.future.done():
                entry.future.set_exception(late)
        for entry in entries:
            if not isinstance(entry, _Item) or not entry.future.done():
                left.append(entry)
        self._queue = deque(item for item in self._queue if not item.future.done())
        return left

    def _complain(self, error: Exception) -> None:
        text = str(error)
        if text != self._last_error:
            self._last_error = text
            _log.warning("the store cannot be written, trying again: %s", text)


async def _nothing() -> None:
    """It is the waiting that counts."""
