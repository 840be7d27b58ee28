"""Moving everything from a SQLite file to PostgreSQL: histories, runs that sleep or wait, messages, hooks, records, keys.

The file is locked for as long as that takes, and only its audit log is written to. What happens at the other end is told in
``copying``: one transaction, so that a move is done as a whole or not at all, whoever dies.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uuid_utils

from stepwell.clock import Clock, boot_id
from stepwell.errors import ConflictError, CorruptStoreError, UnavailableError
from stepwell.settings import Settings
from stepwell.store.access import AuditRow
from stepwell.store.copying import Moved, Tables, copy_all
from stepwell.store.locks import LockFile, NodeLocks
from stepwell.store.migrate import MIGRATIONS, migrate
from stepwell.store.nodes import processes
from stepwell.store.postgres_address import parse_address
from stepwell.store.sqlite_connection import Connection, connect_writer, refuse_foreign
from stepwell.store.sqlite_errors import not_readable
from stepwell.store.statements import statement

__all__ = ["Moved", "move"]

_NOT_MOVED: Final = {"migrations"}
_INSERT_AUDIT: Final = statement("common/insert_audit").replace("{rows}", "(?, ?, ?, ?, ?, ?, ?)")


def move(
    source: Path, target_url: str, *, clock: Clock, settings: Settings, tell: Callable[[str], None] = lambda _: None
) -> Moved:
    """Copy everything; return what was copied. It blocks for as long as that takes, and tells how far it is.

    The audit logs of both have an entry: that of the file also of a move that was begun and has failed.

    Raises:
        ValidationError: The target's URL is none.
        ConflictError: Somebody uses the file, its schema is older, or the target holds something. Nothing was moved, and a target
            that holds something was not changed in any way.
        CorruptStoreError: The file is no store, or is damaged, or one of both is newer than this code. Nothing was moved.
        UnavailableError: One of them cannot be used, or what was written does not read back the same. Nothing was moved, unless
            the text says that this is not known.
    """
    address = parse_address(target_url)
    try:
        with _taken(source, clock) as file:
            _note(file, clock, address.name, "started")
            file.execute("BEGIN IMMEDIATE")
            result = "failed"
            try:
                entry = _entry(clock, f"from {source.resolve()}", "done")
                moved = asyncio.run(copy_all(file, _tables(clock), address, entry, clock=clock, settings=settings, tell=tell))
                result = "done"
            except Exception as error:
                result = f"failed: {error}"
                raise
            finally:
                file.execute("ROLLBACK")
                _note(file, clock, address.name, result)
            return moved
    except Exception as error:
        known = not_readable(error, str(source))
        if known is None or known is error:
            raise
        raise known from error


@contextmanager
def _taken(source: Path, clock: Clock) -> Generator[Connection]:
    """Open a file that nobody uses. Until the end nobody else writes to it: who tries, waits, and then is told so."""
    if not source.exists():
        raise UnavailableError(f"there is no store {str(source)!r}")
    if not source.is_file():
        raise UnavailableError(f"{str(source)!r} is no file")
    refuse_foreign(source)
    source = source.resolve()
    lock = LockFile(source.with_name(source.name + ".writer"))
    try:
        if not lock.try_acquire():
            raise ConflictError(f"{source} is in use, somebody is writing to it: stop all that have it open, then move")
        file = connect_writer(source)
        try:
            _refuse_schema(file.pragma("user_version"), source)
            _refuse_used(file, source, clock)
            yield file
        finally:
            file.close(True)
    finally:
        lock.close()


def _refuse_schema(version: int, source: Path) -> None:
    newest = MIGRATIONS[-1][0]
    if version == 0:
        raise ConflictError(f"{source} is empty: there is nothing to move")
    if version < newest:
        raise ConflictError(
            f"{source} was written by an older stepwell (its schema is number {version}, this one knows {newest}): "
            f"run `stepwell db migrate --store sqlite:///{source}` first"
        )
    if version > newest:
        raise CorruptStoreError(
            f"{source} was written by a newer stepwell (its schema is number {version}, this one knows {newest}): "
            "upgrade stepwell"
        )


def _refuse_used(file: Connection, source: Path, clock: Clock) -> None:
    locks = NodeLocks(source.with_name(source.name + ".nodes"))
    try:
        gone = set(locks.gone())
        rows = file.execute("SELECT node_id, lease_until, boot_id, info FROM nodes WHERE alive = 1").fetchall()
        now_ms, boot = clock.boot_ms(), boot_id()
        # Of a node without a lock file, as in a copy of a store, only the lease tells.
        alive = [
            info
            for node_id, until, its_boot, info in rows
            if node_id not in gone and (locks.has_file(node_id) or (its_boot == boot and until is not None and until > now_ms))
        ]
    finally:
        locks.close()
    if alive:
        raise ConflictError(f"{source} is in use by {processes(alive)}: stop all that have it open, then move")


def _tables(clock: Clock) -> Tables:
    """Return our tables and their columns. A file may have others beside them, of a tool that replicates it for example."""
    pattern = connect_writer(None)
    try:
        migrate(pattern, clock, "memory://")
        tables = pattern.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").fetchall()
        names = [name for (name,) in tables if name not in _NOT_MOVED]
        return {name: [str(row[1]) for row in pattern.execute(f"PRAGMA table_info({name})")] for name in names}
    finally:
        pattern.close(True)


def _entry(clock: Clock, target: str, result: str) -> AuditRow:
    return AuditRow(str(uuid_utils.uuid7()), clock.now_ms(), "cli", "moveStore", target, "", result)


def _note(file: Connection, clock: Clock, target: str, result: str) -> None:
    with file:
        file.execute(_INSERT_AUDIT, _entry(clock, f"to {target}", result))
