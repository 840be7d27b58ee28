"""Connections to the database file, and what must be so before one is used."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self, cast

import apsw

from stepwell.errors import CorruptStoreError, UnavailableError

APPLICATION_ID: Final = 0x73747077
"""Written into the file's header: this is a database of stepwell."""

_BUSY_MS: Final = 200
"""Programs that know nothing of the lock beside the file may hold SQLite's own for a moment."""

_CACHE_KIB: Final = 32 * 1024
_WAL_BYTES_MAX: Final = 64 * 1024 * 1024


class Cursor(Protocol):
    """What is used of apsw's cursors. Its own types say more than a checker can follow."""

    @property
    def get(self) -> Any: ...

    def fetchall(self) -> list[tuple[Any, ...]]: ...

    def close(self, force: bool = False, /) -> None: ...

    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...


class Connection(Protocol):
    """What is used of apsw's connections."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statements: str, bindings: Sequence[str | int | float | None] | None = None, /) -> Cursor: ...

    def pragma(self, name: str, value: str | int | None = None, /) -> Any: ...

    def changes(self) -> int: ...

    def readonly(self, name: str, /) -> bool: ...

    def config(self, option: int, value: int, /) -> int: ...

    def set_busy_timeout(self, milliseconds: int, /) -> None: ...

    def set_progress_handler(self, look: Callable[[], bool] | None, steps: int, /) -> None: ...

    def set_wal_hook(self, hook: Callable[[Any, str, int], int] | None, /) -> None: ...

    def wal_autocheckpoint(self, pages: int, /) -> None: ...

    def wal_checkpoint(self, dbname: str | None, mode: int, /) -> tuple[int, int]: ...

    def close(self, force: bool = False, /) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def create_file(path: Path) -> None:
    """Create an empty database file, and the folders that it needs, for this user alone; synced, so that they stay."""
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)
    try:
        # The only time that the file is opened by other means than SQLite: nobody can have it open before it exists.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    _sync_folder(path.parent)


def refuse_foreign(path: Path) -> None:
    """Raise if the file is there and is not ours. It is not changed.

    Raises:
        CorruptStoreError: It is no SQLite database, or another program's.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    connection = _open(str(path), apsw.SQLITE_OPEN_READONLY)
    try:
        application_id = connection.pragma("application_id")
        is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    finally:
        connection.close()
    if application_id != APPLICATION_ID and not (application_id == 0 and is_empty):
        raise CorruptStoreError(f"{path} is a SQLite database, but not one of stepwell")


def connect_writer(path: Path | None) -> Connection:
    """Open the connection that writes: to the file, or to a database in memory."""
    connection = _connect(path)
    if connection.readonly("main"):
        connection.close()
        raise UnavailableError(f"{path} is read-only: this user may not write to it")
    if path is not None:
        connection.pragma("journal_mode", "wal")
        connection.pragma("journal_size_limit", _WAL_BYTES_MAX)
        # Checkpoints are made between the commits, outside of the lock.
        connection.wal_autocheckpoint(0)
    connection.pragma("synchronous", "full")
    # Only macOS knows these: a plain fsync does not reach the disk there.
    connection.pragma("fullfsync", 1)
    connection.pragma("checkpoint_fullfsync", 1)
    return connection


def connect_reader(path: Path) -> Connection:
    """Open a connection that only reads."""
    connection = _connect(path)
    connection.pragma("query_only", 1)
    return connection


def close_like_death(connection: Connection) -> None:
    """Close without a commit and without tidying up the log: what the file looks like to others when this process dies."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close(True)


def _connect(path: Path | None) -> Connection:
    name = ":memory:" if path is None else str(path)
    connection = _open(name, apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("cache_size", -_CACHE_KIB)
    connection.pragma("temp_store", "memory")
    return connection


def _open(name: str, flags: int) -> Connection:
    connection = cast("Connection", apsw.Connection(name, flags=flags))
    connection.set_busy_timeout(_BUSY_MS)
    return connection


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
