"""The store in a SQLite file, or in memory.

One thread writes and a few read; results come back to the event loop. What is done with the file is told in ``sqlite_writer``,
``sqlite_batch`` and ``sqlite_reads``.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, TypeVar

import apsw

from stepwell.clock import Clock
from stepwell.errors import UnavailableError
from stepwell.progress import Message, StoredEvent
from stepwell.settings import Settings
from stepwell.store import sqlite_reads as reads
from stepwell.store import sqlite_records as records
from stepwell.store.access import AuditRow, KeyRow
from stepwell.store.base import (
    Batch,
    BatchState,
    Committed,
    History,
    HookRow,
    NotApplied,
    OwnedRun,
    Poll,
    RunQuery,
    Snapshot,
    StoredRun,
)
from stepwell.store.hints import ANYTHING, Hint
from stepwell.store.lanes import Lane
from stepwell.store.nodes import workflows_of
from stepwell.store.records import Changes, CollectionRow, RecordQuery, RecordRows
from stepwell.store.retention import Prunable
from stepwell.store.sqlite_check import check
from stepwell.store.sqlite_connection import Connection, close_like_death, connect_reader
from stepwell.store.sqlite_errors import not_readable
from stepwell.store.sqlite_snapshot import sqlite_snapshot
from stepwell.store.sqlite_writer import SqliteWriter, Ticket

T = TypeVar("T")

_READERS: Final = 2


class SqliteStore:
    """A ``Store``. ``path`` is None for a database in memory, which only this object knows."""

    def __init__(self, path: Path | None, *, clock: Clock, settings: Settings) -> None:
        self.name: str = "memory://" if path is None else str(path)
        self.questions = 0
        self._path = path
        self._clock = clock
        self._settings = settings
        self._writer = SqliteWriter(path, clock=clock, settings=settings)
        self._writing: Lane[SqliteWriter] | None = None
        self._readers: list[_Reader] = []
        self._reading: Lane[_Reader] | None = None
        self._looking: Lane[_Reader] | None = None
        """Lists of records, which may take their time: nobody else waits behind them."""

    @property
    def about(self) -> str:
        """See ``Store``."""
        return f"SQLite {apsw.sqlite_lib_version()}"

    @property
    def lease_until_boot_ms(self) -> int:
        """See ``Store``."""
        return self._writer.lease_until_boot_ms

    async def open(self) -> None:
        """See ``Store``."""
        self._writing = Lane("stepwell-writer", [self._writer], SqliteWriter.rest)
        try:
            await self._patiently(lambda writer, ticket: writer.open(ticket))
        except NotApplied as error:
            # The thread still waits for whoever is in the way; it ends when it may go on.
            self._writing.end()
            raise UnavailableError(f"{self.name} cannot be opened: {error}") from error
        except Exception:
            self._writing.end()
            raise
        if self._path is not None:
            self._readers = [_Reader(self._writer) for _ in range(_READERS)]
            self._reading = Lane("stepwell-reader", self._readers)
            looking = _Reader(self._writer)
            self._looking = Lane("stepwell-records", [looking])
            self._readers.append(looking)

    async def close(self) -> None:
        """See ``Store``."""
        await asyncio.to_thread(self._close)

    def abandon(self) -> None:
        """Leave everything as the death of this process would: nothing more is written, nobody gets an answer.

        For tests. It waits for the threads, so not on the event loop.
        """
        for lane in (self._reading, self._looking, self._writing):
            if lane is not None:
                lane.abandon(self._patience_s)
        for reader in self._readers:
            reader.abandon()
        self._writer.abandon()

    def now_ms(self) -> int:
        """See ``Store``."""
        return self._clock.now_ms()

    def local_ms(self, when_ms: int) -> int:
        """See ``Store``. The machine's clock is the store's."""
        return when_ms

    async def enrol(self, node_id: str, info: str) -> None:
        """See ``Store``."""
        await self._patiently(lambda writer, ticket: writer.enrol(node_id, info, ticket))

    async def retire(self, node_id: str) -> None:
        """See ``Store``."""
        await self._patiently(lambda writer, ticket: writer.retire(node_id, ticket))

    async def describe(self, node_id: str, info: str) -> None:
        """See ``Store``."""
        await self._patiently(lambda writer, ticket: writer.describe(node_id, info, ticket))

    async def commit(self, batch: Batch) -> Committed:
        """See ``Store``."""
        return await self._patiently(lambda writer, ticket: writer.commit(batch, ticket))

    async def batch_state(self, node_id: str) -> BatchState | None:
        """See ``Store``."""
        return await self._read(lambda connection: reads.batch_state(connection, node_id))

    async def poll(self, node_id: str, workflows: Sequence[tuple[str, str]]) -> Poll:
        """See ``Store``."""
        self.questions += 1
        now_ms, boot_ms = self._clock.now_ms(), self._clock.boot_ms()
        return await self._read(
            lambda connection: reads.poll(
                connection,
                node_id,
                workflows,
                now_ms=now_ms,
                lease_ms=self._settings.lease_ms,
                boot_id=self._writer.boot_id,
                boot_ms=boot_ms,
            )
        )

    async def owned(self, node_id: str) -> list[OwnedRun]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.owned(connection, node_id))

    async def dead_nodes(self) -> list[str]:
        """See ``Store``."""
        nodes = self._writer.nodes
        if nodes is None:
            return []
        # Of the files alone: it is looked at often, and the database is not to be asked for it.
        return await self._read(lambda _: nodes.gone())

    def watch(self, changed: Callable[[Hint], None]) -> None:
        """See ``Store``."""
        loop = asyncio.get_running_loop()

        def hint() -> None:
            try:
                loop.call_soon_threadsafe(changed, ANYTHING)
            except RuntimeError:  # the loop is closed
                self._writer.changed = None

        def begin(writer: SqliteWriter) -> None:
            writer.changed = hint

        self._lane().call(begin)

    async def load(self, run_ids: Sequence[str]) -> list[History]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.load(connection, run_ids))

    async def messages(self, run_ids: Sequence[str]) -> dict[str, list[Message]]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.messages(connection, run_ids))

    async def find_run(self, run_id: str) -> StoredRun | None:
        """See ``Store``."""
        return await self._read(lambda connection: reads.find_run(connection, run_id))

    async def statuses(self, run_ids: Sequence[str]) -> dict[str, int]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.statuses(connection, run_ids))

    async def list_runs(self, query: RunQuery) -> list[StoredRun]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.list_runs(connection, query))

    async def retention(self) -> dict[tuple[str, str], int]:
        """See ``Store``."""
        return await self._read(reads.retention)

    async def expired(self, workflow: str, version: str, before_ms: int, after: tuple[int, str], limit: int) -> list[Prunable]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.expired(connection, workflow, version, before_ms, after, limit))

    async def prunable(self, status: int, before_ms: int, after: tuple[int, str], limit: int) -> list[Prunable]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.prunable(connection, status, before_ms, after, limit))

    async def events(self, run_id: str, after: int, limit: int) -> list[StoredEvent]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.events(connection, run_id, after, limit))

    async def hooks(self, run_id: str) -> list[HookRow]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.hooks(connection, run_id))

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """See ``Store``."""
        if self._path is None:
            raise UnavailableError("a store in memory is gone with its process: nothing keeps a moment of it")
        return sqlite_snapshot(self._path, self.name)

    async def find_record(self, collection: str, id: str) -> str | None:
        """See ``Store``."""
        return await self._read(lambda connection: records.find_record(connection, collection, id))

    async def list_records(self, query: RecordQuery) -> RecordRows:
        """See ``Store``."""
        ms_max = self._settings.query_ms_max
        return await self._read(
            lambda connection: records.list_records(connection, query, self._clock, query_ms_max=ms_max), self._looking
        )

    async def record_changes(self, collection: str, after: int | None, limit: int) -> Changes:
        """See ``Store``."""
        return await self._read(lambda connection: records.changes(connection, collection, after, limit))

    async def find_collection(self, name: str) -> CollectionRow | None:
        """See ``Store``."""
        return await self._read(lambda connection: records.find_collection(connection, name))

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
        return await self._read(lambda connection: reads.queue_depth(connection, self._clock.now_ms(), most))

    async def keys(self) -> list[KeyRow]:
        """See ``Store``."""
        return await self._read(reads.keys)

    async def audit(self, after: str, limit: int) -> list[AuditRow]:
        """See ``Store``."""
        return await self._read(lambda connection: reads.audit(connection, after, limit))

    async def check(self) -> list[str]:
        """See ``Store``."""
        return await self._read(check)

    @property
    def _patience_s(self) -> float:
        return self._settings.patience_ms / 1000

    def _lane(self) -> Lane[SqliteWriter]:
        if self._writing is None:
            raise UnavailableError(f"{self.name} is not open")
        return self._writing

    async def _patiently(self, work: Callable[[SqliteWriter, Ticket], T]) -> T:
        """Have something written. A process that is frozen while it writes stops all others: do not wait for it for ever."""
        ticket = Ticket()
        answer = self._lane().call(lambda writer: work(writer, ticket))

        def give_up() -> None:
            if not answer.done() and ticket.take():
                answer.set_exception(NotApplied("another process has been writing to the file for too long"))

        alarm = asyncio.get_running_loop().call_later(self._patience_s, give_up)
        try:
            return await answer
        finally:
            alarm.cancel()

    async def _read(self, question: Callable[[Connection], T], lane: "Lane[_Reader] | None" = None) -> T:
        lane = lane or self._reading
        try:
            if lane is None:
                return await self._lane().call(lambda writer: question(writer.connection))
            return await lane.call(lambda reader: reader.read(question))
        except apsw.Error as error:
            known = not_readable(error, self.name)
            if known is None:
                raise
            raise known from error

    def _close(self) -> None:
        lanes = [lane for lane in (self._reading, self._looking) if lane is not None]
        ended = [lane.stop(self._patience_s) for lane in lanes]
        if all(ended):
            for reader in self._readers:
                reader.close()
        if self._writing is not None and self._writing.stop(self._patience_s):
            self._writer.close()


class _Reader:
    """A connection that only reads, of one thread."""

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer
        self._generation = 0
        self._connection: Connection | None = None

    def read(self, question: Callable[[Connection], T]) -> T:
        """Answer from one snapshot, which is let go of before the answer is given."""
        if self._generation != self._writer.generation:
            self.close()
        if self._connection is None:
            self._generation = self._writer.generation
            self._connection = connect_reader(self._writer.path)
        with self._connection:
            return question(self._connection)

    def close(self) -> None:
        """Close the connection; the next question opens it again."""
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None

    def abandon(self) -> None:
        """Close the connection as the death of the process would."""
        if self._connection is not None:
            close_like_death(self._connection)
            self._connection = None
