"""The store in PostgreSQL, for any number of nodes.

One connection commits, a few read, one listens, and one of a thread of its own renews the lease. A batch is a handful of turns:
its identity, its locks, what else it must know, what it writes, the commit.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar

import msgspec

from stepwell.clock import Clock, boot_id
from stepwell.errors import StepwellError, UnavailableError
from stepwell.failpoints import counters, failpoint
from stepwell.progress import Message, StoredEvent
from stepwell.settings import Settings
from stepwell.store import postgres_reads as reads
from stepwell.store import postgres_records as records
from stepwell.store.access import AuditRow, KeyRow
from stepwell.store.base import (
    Batch,
    BatchState,
    Bury,
    Committed,
    DataRefused,
    History,
    HookRow,
    NotApplied,
    Operation,
    OutcomeUnknown,
    OwnedRun,
    Poll,
    RunQuery,
    Snapshot,
    StoredRun,
)
from stepwell.store.batch import BatchExecution, Outdated
from stepwell.store.checking import RULES
from stepwell.store.drafts import Draft, Page
from stepwell.store.hints import Hint
from stepwell.store.nodes import workflows_of
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_batch import Transaction, beginning
from stepwell.store.postgres_capabilities import Capabilities
from stepwell.store.postgres_hints import Hints
from stepwell.store.postgres_lease import LeaseKeeper
from stepwell.store.postgres_migrate import migrate
from stepwell.store.postgres_pool import Pool, call_on
from stepwell.store.postgres_reads import Reader
from stepwell.store.postgres_rows import Speech, learn
from stepwell.store.postgres_snapshot import postgres_snapshot
from stepwell.store.postgres_wire import (
    DRIVER_ERRORS,
    Wire,
    is_interruption,
    is_lost,
    is_worth_repeating,
    not_committed,
    not_readable,
)
from stepwell.store.records import Changes, CollectionRow, RecordQuery, RecordRows
from stepwell.store.retention import Prunable

T = TypeVar("T")

_FORESEEN: Final[tuple[type[Exception], ...]] = (StepwellError, *DRIVER_ERRORS)
_REPEATS: Final = 8
_AGAIN_S: Final = 0.05
_REPEAT_AFTER_S: Final = 0.002
_CAUTIOUS: Final = 8
_DISTRUST: Final = -1
"""The boot time of a ``Bury`` that must not believe leases."""


class PostgresStore:
    """A ``Store`` in the database that a ``postgresql://`` URL names."""

    def __init__(self, url: str, *, clock: Clock, settings: Settings) -> None:
        address = parse_address(url)
        self.name: str = address.name
        self.questions = 0
        self._clock = clock
        self._settings = settings
        self._speech = Speech(clock.now_ms if clock.is_set else None, address.has)
        self._pool = Pool(address, self._speech, clock=clock, settings=settings)
        self._lease = LeaseKeeper(address, self._speech, clock)
        self._hints = Hints(self._pool, self._speech, settings, self.name)
        self._writer: Wire | None = None
        self._writing = asyncio.Lock()
        self._ahead: tuple[Wire, int] | None = None
        """The connection on which the next batch has begun already, and the machine's time before."""
        self._owned: dict[str, Draft] = {}
        self._cautious = 0
        """For so many batches nothing is taken from memory."""
        self._holder = secrets.token_hex(8)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def has(self) -> Capabilities:
        """What the database can do, known once it is open."""
        return self._speech.has

    @property
    def about(self) -> str:
        """See ``Store``."""
        missing = ", ".join(self.has.missing)
        pooler = " behind a pooler" if self._pool.is_pooled else ""
        return f"{self._pool.version}{pooler}{missing and ', without '}{missing}"

    @property
    def lease_until_boot_ms(self) -> int:
        """See ``Store``."""
        return self._lease.until_boot_ms

    async def open(self) -> None:
        """See ``Store``."""
        self._loop = asyncio.get_running_loop()
        self._pool.reopen()
        await asyncio.to_thread(boot_id)  # read once: from here on nobody waits for it
        try:
            await self._open_patiently(self._loop.time() + self._settings.patience_ms / 1000)
        except BaseException:
            await self._pool.close()
            raise

    async def _open_patiently(self, late_s: float) -> None:
        while True:
            try:
                self._writer = await self._pool.connect()
                await migrate(self._writer, self._speech, self.name, self._holder)
                await learn(self._writer, self._speech)
                return
            except _FORESEEN as error:
                # A server that starts, or a wire with hiccups, is not missing.
                if not is_interruption(error) or asyncio.get_running_loop().time() > late_s:
                    known = not_readable(error, self.name)
                    if known is None or known is error:
                        raise
                    raise known from error
            await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        """See ``Store``."""
        await self._hints.close()
        await asyncio.to_thread(self._lease.stop)
        await self._pool.close()

    def abandon(self) -> None:
        """Leave everything as the death of this process would: nothing more is written, nobody gets an answer.

        For tests. It waits for a thread, so not on the event loop.
        """
        if self._loop is not None:
            call_on(self._loop, self._die)
        self._lease.stop()

    def _die(self) -> None:
        self._hints.stop()
        self._pool.abandon()

    def now_ms(self) -> int:
        """See ``Store``."""
        return self._pool.now_ms()

    def local_ms(self, when_ms: int) -> int:
        """See ``Store``."""
        return self._clock.now_ms() + when_ms - self._pool.now_ms()

    async def enrol(self, node_id: str, info: str) -> None:
        """See ``Store``."""
        await self._change("enrol", node_id, "", info)
        self._hints.enrolled(node_id)

    async def retire(self, node_id: str) -> None:
        """See ``Store``."""
        self._lease.drop()
        await self._change("retire", node_id)

    async def describe(self, node_id: str, info: str) -> None:
        """See ``Store``."""
        await self._change("describe", info, node_id)

    async def _change(self, name: str, *parameters: str) -> None:
        try:
            async with self._pool.lend() as wire:
                await wire.execute(self._speech.text(name), *parameters)
        except UnavailableError as error:
            raise NotApplied(str(error)) from error

    # -- the one write path

    async def commit(self, batch: Batch) -> Committed:
        """See ``Store``."""
        async with self._writing:
            turn = 0
            while True:
                try:
                    return await self._commit(batch)
                except _InTheWay as error:
                    counters["store.repeated"] += 1
                    turn += 1
                    if turn == _REPEATS:
                        raise not_committed(error.cause) or error.cause from error
                    await asyncio.sleep(_REPEAT_AFTER_S * turn * (1 + secrets.randbelow(100) / 100))

    async def _commit(self, batch: Batch) -> Committed:
        boot_ms = self._clock.boot_ms()
        wire = await self._wire()
        ahead, self._ahead = self._ahead, None
        has_begun = ahead is not None and ahead[0] is wire
        if ahead is not None and has_begun:
            boot_ms = ahead[1]
        # Taken out until the commit is known to be done: on the way there it is changed.
        owned, self._owned = self._owned, {}
        if self._cautious or not self._speech.has.data_modifying_cte:
            owned, self._cautious = {}, max(0, self._cautious - 1)
        execution = BatchExecution(page := self._page(batch), owned, is_shared=True, passes_over=self.has.skip_locked)
        transaction = Transaction(wire, self._speech, batch, "" if has_begun else self._beginning())
        stage = "before"
        try:
            async with asyncio.timeout(self._settings.patience_ms / 1000):
                failpoint("commit.before_begin")
                results = await transaction.carry_out(execution.apply(self._distrusting(batch.operations)))
                failpoint("commit.before_commit")
                stage = "commit"
                if await wire.execute("COMMIT") != "COMMIT":
                    raise NotApplied("the transaction was rolled back")
                stage = "after"
                failpoint("commit.after_commit")
        except Exception as error:
            raise await self._failure(wire, error, is_committing=stage != "before") from error
        except asyncio.CancelledError:
            self._drop(wire)
            raise
        except BaseException:
            # What is no Exception plays the death of this process, which answers nobody.
            self._die()
            await asyncio.get_running_loop().create_future()
            raise
        execution.remember()
        self._owned = owned
        self._lease.committed(batch.node_id, batch.lease_ms, boot_ms)
        if execution.has_written:
            self._hints.written(execution.hint(has_workers=batch.lease_ms is not None))
        if batch.is_followed():
            await self._begin_ahead(wire)
        return Committed(results, page.mailed, page.ended_besides, execution.collections)

    def _beginning(self) -> str:
        return beginning(self._settings.lease_ms, must_sync=self._pool.must_sync)

    async def _begin_ahead(self, wire: Wire) -> None:
        """Begin the next batch, so that what it writes is on its way before those who waited for this one go on."""
        boot_ms = self._clock.boot_ms()
        try:
            async with asyncio.timeout(1):
                await wire.execute(self._beginning())
        except DRIVER_ERRORS:
            self._drop(wire)
        else:
            self._ahead = wire, boot_ms

    def _page(self, batch: Batch) -> Page:
        settings = self._settings
        return Page(
            node_id=batch.node_id, now_ms=self.now_ms(), messages_max=settings.messages_max,
            record_bytes_max=settings.payload_bytes_max,
        )  # fmt: skip

    async def _wire(self) -> Wire:
        if self._writer is None or self._writer.is_closed():
            self._writer = None
            try:
                self._writer = await self._pool.connect()
            except UnavailableError as error:
                counters["store.store_not_applied"] += 1
                raise NotApplied(str(error)) from error
        return self._writer

    def _distrusting(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """Let nobody be buried for a lease while leases say nothing: they could not be renewed either."""
        if self._clock.boot_ms() >= self._pool.trusts_leases_at_boot_ms or self._clock.is_set:
            return operations
        return [
            msgspec.structs.replace(operation, boot_ms=_DISTRUST) if isinstance(operation, Bury) else operation
            for operation in operations
        ]

    async def _failure(self, wire: Wire, error: Exception, *, is_committing: bool) -> Exception:
        """Return what to raise for an error of the transaction, which is rolled back, or lost with its connection."""
        is_gone = wire.is_closed() or is_lost(error)
        if is_gone:
            self._pool.lost_contact()
            self._drop(wire)
        if is_committing and not isinstance(error, NotApplied) and (is_gone or not _was_refused(error)):
            counters["store.outcome_unknown"] += 1
            self._drop(wire)
            return OutcomeUnknown(f"it is not known whether the last commit was done ({error or type(error).__name__})")
        if not is_gone:
            await self._roll_back(wire)
        if isinstance(error, Outdated):
            counters["store.outdated"] += 1
            self._cautious = _CAUTIOUS
        if is_worth_repeating(error) or isinstance(error, Outdated):
            return _InTheWay(error)
        known = not_committed(error)
        if known is None and is_gone:
            # Closed under its hands, the driver trips over itself.
            known = NotApplied("the connection is lost")
        if known is None:
            return error
        counters[f"store.{known.code}"] += 1
        return known

    async def _roll_back(self, wire: Wire) -> None:
        try:
            async with asyncio.timeout(1):
                await wire.execute("ROLLBACK")
        except DRIVER_ERRORS:
            self._drop(wire)

    def _drop(self, wire: Wire) -> None:
        if self._writer is wire:
            self._writer = None
        self._pool.drop(wire)

    # -- what is asked

    async def batch_state(self, node_id: str) -> BatchState | None:
        """See ``Store``."""
        return await self._read(lambda reader: reads.batch_state(reader, node_id))

    async def poll(self, node_id: str, workflows: Sequence[tuple[str, str]]) -> Poll:
        """See ``Store``."""
        self.questions += 1
        before_ms = self._clock.boot_ms()
        answer, server_ms = await self._read(
            lambda reader: reads.poll(reader, node_id, workflows, now_ms=self.now_ms(), lease_ms=self._settings.lease_ms)
        )
        self._pool.set_time(server_ms, before_ms)
        return answer

    async def owned(self, node_id: str) -> list[OwnedRun]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.owned(reader, node_id))

    async def dead_nodes(self) -> list[str]:
        """See ``Store``. Here only the lease tells."""
        return []

    def watch(self, changed: Callable[[Hint], None]) -> None:
        """See ``Store``."""
        self._hints.watch(changed)

    async def load(self, run_ids: Sequence[str]) -> list[History]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.load(reader, run_ids))

    async def messages(self, run_ids: Sequence[str]) -> dict[str, list[Message]]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.messages(reader, run_ids))

    async def find_run(self, run_id: str) -> StoredRun | None:
        """See ``Store``."""
        return await self._read(lambda reader: reads.find_run(reader, run_id))

    async def statuses(self, run_ids: Sequence[str]) -> dict[str, int]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.statuses(reader, run_ids))

    async def list_runs(self, query: RunQuery) -> list[StoredRun]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.list_runs(reader, query))

    async def retention(self) -> dict[tuple[str, str], int]:
        """See ``Store``."""
        return await self._read(reads.retention)

    async def expired(self, workflow: str, version: str, before_ms: int, after: tuple[int, str], limit: int) -> list[Prunable]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.expired(reader, workflow, version, before_ms, after, limit))

    async def prunable(self, status: int, before_ms: int, after: tuple[int, str], limit: int) -> list[Prunable]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.prunable(reader, status, before_ms, after, limit))

    async def events(self, run_id: str, after: int, limit: int) -> list[StoredEvent]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.events(reader, run_id, after, limit))

    async def hooks(self, run_id: str) -> list[HookRow]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.hooks(reader, run_id))

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """See ``Store``."""
        return postgres_snapshot(self._pool, self._speech, self.name)

    async def find_record(self, collection: str, id: str) -> str | None:
        """See ``Store``."""
        return await self._read(lambda reader: records.find_record(reader, collection, id))

    async def list_records(self, query: RecordQuery) -> RecordRows:
        """See ``Store``."""
        ms_max = self._settings.query_ms_max
        return await self._read(lambda reader: records.list_records(reader, query, query_ms_max=ms_max))

    async def record_changes(self, collection: str, after: int | None, limit: int) -> Changes:
        """See ``Store``."""
        return await self._read(lambda reader: records.changes(reader, collection, after, limit))

    async def find_collection(self, name: str) -> CollectionRow | None:
        """See ``Store``."""
        return await self._read(lambda reader: records.find_collection(reader, name))

    async def collections(self) -> list[CollectionRow]:
        """See ``Store``."""
        return await self._read(records.collections)

    async def knows_worker(self, workflow: str, version: str) -> bool:
        """See ``Store``."""
        return any((workflow, version) in workflows_of(info) for info in (await self._read(reads.live_nodes)).values())

    async def live_nodes(self) -> dict[str, str]:
        """See ``Store``."""
        return await self._read(reads.live_nodes)

    async def count_by_status(self) -> dict[int, int]:
        """See ``Store``."""
        return await self._read(reads.count_by_status)

    async def in_flight(self) -> list[tuple[str, str, int, int]]:
        """See ``Store``."""
        return await self._read(reads.in_flight)

    async def queue_depth(self, most: int) -> int:
        """See ``Store``."""
        return await self._read(lambda reader: reads.queue_depth(reader, self.now_ms(), most))

    async def keys(self) -> list[KeyRow]:
        """See ``Store``."""
        return await self._read(reads.keys)

    async def audit(self, after: str, limit: int) -> list[AuditRow]:
        """See ``Store``."""
        return await self._read(lambda reader: reads.audit(reader, after, limit))

    async def check(self) -> list[str]:
        """See ``Store``."""
        wrong: list[str] = []
        for rule in RULES:
            async with self._pool.lend() as wire:
                rows = await Reader(wire, self._speech).rows(rule.statement, rule.at_most)
            wrong += [rule.sentence.format(*row) for row in rows]
        return wrong

    async def _read(self, question: Callable[[Reader], Awaitable[T]]) -> T:
        async with self._pool.lend() as wire:
            return await question(Reader(wire, self._speech))


class _InTheWay(Exception):
    """Another node was: the transaction is run again from its start."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _was_refused(error: Exception) -> bool:
    """Tell whether the server has answered COMMIT by an error, which it does before anything is durable."""
    return is_worth_repeating(error) or isinstance(not_committed(error), DataRefused)
