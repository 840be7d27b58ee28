"""A SQLite store at one moment: a connection of its own, in one transaction that only reads."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import apsw

from stepwell.progress import Message, StoredEvent
from stepwell.store import sqlite_reads as reads
from stepwell.store.base import RunQuery, StoredRun
from stepwell.store.lanes import Lane
from stepwell.store.sqlite_connection import Connection, connect_reader
from stepwell.store.sqlite_errors import not_readable

T = TypeVar("T")


class SqliteSnapshot:
    """A ``Snapshot``."""

    def __init__(self, lane: "Lane[_Opened]", name: str) -> None:
        self._lane = lane
        self._name = name

    async def find_run(self, run_id: str) -> StoredRun | None:
        """See ``Snapshot``."""
        return await self._read(lambda connection: reads.find_run(connection, run_id))

    async def list_runs(self, query: RunQuery) -> list[StoredRun]:
        """See ``Snapshot``."""
        return await self._read(lambda connection: reads.list_runs(connection, query))

    async def events(self, run_id: str, after: int, limit: int) -> list[StoredEvent]:
        """See ``Snapshot``."""
        return await self._read(lambda connection: reads.events(connection, run_id, after, limit))

    async def mail(self, run_id: str, after: int, limit: int) -> list[Message]:
        """See ``Snapshot``."""
        return await self._read(lambda connection: reads.mail(connection, run_id, after, limit))

    async def _read(self, question: Callable[[Connection], T]) -> T:
        try:
            return await self._lane.call(lambda opened: question(opened.connection()))
        except apsw.Error as error:
            known = not_readable(error, self._name)
            if known is None:
                raise
            raise known from error


class _Opened:
    """A connection in a transaction, opened by the thread that uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = connect_reader(self._path)
            self._connection.execute("BEGIN")
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close(True)


@asynccontextmanager
async def sqlite_snapshot(path: Path, name: str) -> AsyncGenerator[SqliteSnapshot]:
    """Keep a moment. The log of the file cannot be moved into it meanwhile, and grows."""
    opened = _Opened(path)
    lane = Lane("stepwell-snapshot", [opened])
    try:
        snapshot = SqliteSnapshot(lane, name)
        await snapshot.find_run("")  # the moment is that of the first question
        yield snapshot
    finally:
        await lane.call(_Opened.close)
        lane.end()
