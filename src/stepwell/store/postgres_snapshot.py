"""PostgreSQL at one moment: a connection of its own, in one transaction that only reads and repeats."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from stepwell.progress import Message, StoredEvent
from stepwell.store import postgres_reads as reads
from stepwell.store.base import RunQuery, StoredRun
from stepwell.store.postgres_pool import Pool
from stepwell.store.postgres_reads import Reader
from stepwell.store.postgres_rows import Speech
from stepwell.store.postgres_wire import DRIVER_ERRORS, not_readable

T = TypeVar("T")

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresSnapshot:
    """A ``Snapshot``."""

    def __init__(self, reader: Reader, name: str) -> None:
        self._reader = reader
        self._name = name

    async def find_run(self, run_id: str) -> StoredRun | None:
        """See ``Snapshot``."""
        return await self._read(lambda reader: reads.find_run(reader, run_id))

    async def list_runs(self, query: RunQuery) -> list[StoredRun]:
        """See ``Snapshot``."""
        return await self._read(lambda reader: reads.list_runs(reader, query))

    async def events(self, run_id: str, after: int, limit: int) -> list[StoredEvent]:
        """See ``Snapshot``."""
        return await self._read(lambda reader: reads.events(reader, run_id, after, limit))

    async def mail(self, run_id: str, after: int, limit: int) -> list[Message]:
        """See ``Snapshot``."""
        return await self._read(lambda reader: reads.mail(reader, run_id, after, limit))

    async def _read(self, question: Callable[[Reader], Awaitable[T]]) -> T:
        try:
            return await question(self._reader)
        except DRIVER_ERRORS as error:
            known = not_readable(error, self._name)
            if known is None:
                raise
            raise known from error


@asynccontextmanager
async def postgres_snapshot(pool: Pool, speech: Speech, name: str) -> AsyncGenerator[PostgresSnapshot]:
    """Keep a moment. The server cannot tidy up what has changed since meanwhile."""
    wire = await pool.connect()
    try:
        await wire.execute(_BEGIN)
        snapshot = PostgresSnapshot(Reader(wire, speech), name)
        await snapshot.find_run("")  # the moment is that of the first question
        yield snapshot
    finally:
        pool.drop(wire)
