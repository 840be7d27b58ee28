"""Bringing a database up to this code: numbered files, each in a transaction of its own, each only once.

Whoever calls holds the lock that lets one process write, so that a second one finds the work done.
"""

from importlib.resources import files
from pathlib import Path

import uuid_utils

from stepwell.clock import Clock
from stepwell.errors import CorruptStoreError
from stepwell.failpoints import failpoint
from stepwell.store.schema import Schema
from stepwell.store.sqlite_connection import APPLICATION_ID, Connection, connect_reader, refuse_foreign
from stepwell.store.sqlite_errors import not_readable
from stepwell.store.statements import statement

_TABLE = statement("sqlite/create_migrations")
_NOTE = statement("common/note_migration")
_UPGRADE = statement("sqlite/note_upgrade")


def _read() -> list[tuple[int, str, str]]:
    folder = files("stepwell.store") / "migrations" / "sqlite"
    scripts = sorted((entry.name, entry.read_text(encoding="utf-8")) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), name.removesuffix(".sql"), text) for name, text in scripts]


MIGRATIONS = _read()
"""Number, name and statements of each."""


def migrate(connection: Connection, clock: Clock, name: str) -> None:
    """Apply the migrations that this database lacks; of those that come after its first the audit log tells.

    Raises:
        CorruptStoreError: The database is newer than this code. It is not changed.
    """
    version = _version(connection, name)
    for number, script, text in MIGRATIONS:
        if number <= version:
            continue
        with connection:
            failpoint("migrate")
            connection.execute(_TABLE)
            connection.execute(text)
            connection.execute(_NOTE, (number, script, clock.now_ms()))
            if version:
                connection.execute(_UPGRADE, (str(uuid_utils.uuid7()), clock.now_ms(), script))
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", number)


def find_schema(path: Path) -> Schema | None:
    """Look at the schema of a file; None if there is none, or it is empty.

    Raises:
        CorruptStoreError: It is newer than this code, or no store.
        UnavailableError: It cannot be read.
    """
    try:
        if not path.exists():
            return None
        refuse_foreign(path)
        connection = connect_reader(path)
        try:
            version = _version(connection, str(path))
        finally:
            connection.close()
    except Exception as error:
        known = not_readable(error, str(path))
        if known is None or known is error:
            raise
        raise known from error
    return Schema(str(path), version, MIGRATIONS[-1][0]) if version else None


def _version(connection: Connection, name: str) -> int:
    newest, version = MIGRATIONS[-1][0], int(connection.pragma("user_version"))
    if version > newest:
        raise CorruptStoreError(
            f"{name} was written by a newer stepwell (its schema is number {version}, this one knows {newest}): upgrade stepwell"
        )
    return version
