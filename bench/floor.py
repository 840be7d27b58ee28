"""The floor: a bare loop that commits the rows that the engine committed, in the same batches, and does nothing else.

Same tables and indexes (the store's own migrations), same settings (the store's own connection: WAL, ``synchronous=FULL``), the
same rows, read from the file that the engine has just written and bound before the clock starts. No engine, no loop, no threads,
no locks beside the file, nothing encoded or decoded.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from bench.journal import Touch
from stepwell.clock import Clock
from stepwell.store.migrate import migrate
from stepwell.store.sqlite_connection import connect_writer, create_file

Row = tuple[Any, ...]

_NODE = "bench"
_CHECKPOINT_PAGES = 4_000
_BEGIN = "UPDATE nodes SET batch = batch + 1, batch_id = ?, lease_until = ? WHERE node_id = ? AND alive = 1 AND batch = ?"
_INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
_INSERT_MESSAGE = "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)"
_ADVANCE = "UPDATE runs SET seq = ?, updated_at = ? WHERE run_id = ? AND owner = ? AND turn = ?"
_MOVE = "UPDATE runs SET status = ?, owner = ?, turn = ?, seq = ?, wake_at = ?, completed_at = ?, updated_at = ? WHERE run_id = ?"


class Written(NamedTuple):
    """The rows of one batch."""

    runs: list[Row]
    events: list[Row]
    advanced: list[Row]
    moved: list[Row]
    messages: list[Row]


def rows_of(path: Path, batches: Sequence[Sequence[Touch]]) -> list[Written]:
    """Return the rows of these batches, from the file that the engine has written and closed."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    columns = [str(row[1]) for row in connection.execute("PRAGMA table_info(runs)")]
    names = {touch.run_id for batch in batches for touch in batch}
    runs = {
        str(row[0]): dict(zip(columns, row, strict=True)) for row in connection.execute("SELECT * FROM runs") if row[0] in names
    }
    events: dict[str, list[Row]] = {}
    for event in connection.execute("SELECT * FROM events ORDER BY run_id, seq"):
        if event[0] in names:
            events.setdefault(str(event[0]), []).append(event)
    connection.close()
    done = dict.fromkeys(runs, 0)
    left = dict.fromkeys(runs, 0)
    for batch in batches:
        for touch in batch:
            left[touch.run_id] += 1
    return [_written(batch, runs, events, done, left) for batch in batches]


def _written(
    batch: Sequence[Touch],
    runs: dict[str, dict[str, Any]],
    events: dict[str, list[Row]],
    done: dict[str, int],
    left: dict[str, int],
) -> Written:
    written = Written([], [], [], [], [])
    for touch in batch:
        run = runs[touch.run_id]
        written.events.extend(events[touch.run_id][done[touch.run_id] : touch.seq])
        done[touch.run_id] = seq = max(touch.seq, done[touch.run_id])
        left[touch.run_id] -= 1
        if touch.message is not None:
            written.messages.append(touch.message)
        if touch.is_new:
            claimed = {"status": 1, "owner": _NODE, "turn": 1} if run["completed_at"] else {"status": 0, "owner": None, "turn": 0}
            row = {**run, **claimed, "seq": seq, "waiting_for": None, "completed_at": None}
            written.runs.append(tuple(row.values()))
        elif not touch.is_moved:
            written.advanced.append((seq, run["updated_at"], touch.run_id, _NODE, 1))
        elif left[touch.run_id]:
            written.moved.append((1, _NODE, 1, seq, None, None, run["updated_at"], touch.run_id))
        else:
            status, completed = run["status"], run["completed_at"]
            written.moved.append((status, None, 2, seq, None, completed, run["updated_at"], touch.run_id))
    return written


class Floor:
    """A database file of the store's shape, and the loop that fills it."""

    def __init__(self, path: Path) -> None:
        create_file(path)
        self.connection: Any = connect_writer(path)
        migrate(self.connection, Clock(), str(path))
        self.connection.execute("INSERT INTO nodes VALUES (?, 1, 0, '', NULL, '', '{}')", (_NODE,))
        self.connection.set_wal_hook(self._committed)
        self._batch = 0
        self._pages = 0
        self._checkpoint_at = _CHECKPOINT_PAGES
        width = len(self.connection.execute("PRAGMA table_info(runs)").fetchall())
        self._insert_run = f"INSERT INTO runs VALUES ({', '.join('?' * width)})"

    def write(self, batches: Iterable[Written]) -> list[float]:
        """Commit each; return how long each took, in seconds."""
        took: list[float] = []
        begun = time.perf_counter()
        for batch in batches:
            self._commit(batch)
            now = time.perf_counter()
            took.append(now - begun)
            begun = now
        return took

    def close(self) -> None:
        self.connection.close()

    def _commit(self, batch: Written) -> None:
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_BEGIN, ("0123456789abcdef", 1, _NODE, self._batch))
        assert connection.changes() == 1
        connection.executemany(self._insert_run, batch.runs)
        connection.executemany(_ADVANCE, batch.advanced)
        connection.executemany(_MOVE, batch.moved)
        connection.executemany(_INSERT_EVENT, batch.events)
        connection.executemany(_INSERT_MESSAGE, batch.messages)
        connection.execute("COMMIT")
        self._batch += 1
        if self._pages >= self._checkpoint_at:
            self._checkpoint_at = self._pages + _CHECKPOINT_PAGES
            connection.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _committed(self, connection: object, database: str, pages: int) -> int:
        if pages < self._pages:
            self._checkpoint_at = _CHECKPOINT_PAGES
        self._pages = pages
        return apsw.SQLITE_OK


def write(path: Path, batches: Sequence[Written]) -> list[float]:
    """Write all batches to a new file; return how long each took, in seconds."""
    floor = Floor(path)
    try:
        return floor.write(batches)
    finally:
        floor.close()
