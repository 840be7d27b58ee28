"""Moving everything from a SQLite file to PostgreSQL: histories, runs that sleep or wait, messages, hooks, keys.

One transaction writes, reads back what was written, and commits only if it is the same. The file is not changed, and nobody may
write to it meanwhile.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from stepwell.clock import Clock
from stepwell.errors import ConflictError, UnavailableError
from stepwell.settings import Settings
from stepwell.store.locks import NodeLocks
from stepwell.store.migrate import MIGRATIONS
from stepwell.store.plans import to_json
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_migrate import migrate
from stepwell.store.postgres_pool import Pool
from stepwell.store.postgres_rows import Speech
from stepwell.store.postgres_wire import Wire
from stepwell.store.sqlite_connection import Connection, connect_writer, refuse_foreign

_ROWS_AT_ONCE: Final = 1_000
_NOT_MOVED: Final = {"migrations"}

_encode = msgspec.json.Encoder().encode


class Moved(NamedTuple):
    """What was moved: rows and a checksum, by table."""

    rows: dict[str, int]
    checksums: dict[str, str]


class _Sum:
    """Counts rows, and adds up their hashes: the order in which they come does not matter."""

    def __init__(self) -> None:
        self.rows = 0
        self._total = 0

    def add(self, row: tuple[Any, ...]) -> None:
        self.rows += 1
        digest = hashlib.sha256(_encode(row)).digest()
        self._total = (self._total + int.from_bytes(digest[:16])) % (1 << 128)

    @property
    def text(self) -> str:
        return f"{self._total:032x}"


def move(source: Path, target_url: str, *, clock: Clock, settings: Settings) -> Moved:
    """Copy everything; return what was copied. It blocks for as long as that takes.

    Raises:
        ConflictError: Somebody uses the file, or the target holds something already. Nothing was written.
        UnavailableError: One of them cannot be used, or what was written does not read back the same. Nothing was written.
    """
    if not source.exists():
        raise UnavailableError(f"there is no store {str(source)!r}")
    refuse_foreign(source)
    file = connect_writer(source)
    try:
        if file.pragma("user_version") != MIGRATIONS[-1][0]:
            raise ConflictError(f"{source} was not opened by this version yet: run `stepwell db migrate` on it first")
        file.execute("BEGIN IMMEDIATE")
        _refuse_used(file, source)
        return asyncio.run(_copy_to(file, target_url, clock, settings))
    finally:
        file.close(True)


async def _copy_to(file: Connection, target_url: str, clock: Clock, settings: Settings) -> Moved:
    address, speech = parse_address(target_url), Speech(None)
    pool = Pool(address, speech, clock=clock, settings=settings)
    try:
        wire = await pool.connect()
        await migrate(wire, speech, address.name, secrets.token_hex(8))
        return await _copy(file, wire, speech)
    finally:
        await pool.close()


def _refuse_used(file: Connection, source: Path) -> None:
    locks = NodeLocks(source.resolve().with_name(source.name + ".nodes"))
    try:
        gone = set(locks.gone())
    finally:
        locks.close()
    alive = [row[0] for row in file.execute("SELECT node_id FROM nodes WHERE alive = 1") if row[0] not in gone]
    if alive:
        raise ConflictError(f"{source} is in use by {len(alive)} node(s): stop all that have it open, then move")


async def _copy(file: Connection, wire: Wire, speech: Speech) -> Moved:
    tables = _tables(file)
    await wire.execute("BEGIN")
    for table in tables:
        if await wire.fetchval(speech.text("any_row").replace("{table}", table)):
            raise ConflictError(f"the target is in use: its table {table} is not empty")
    rows: dict[str, int] = {}
    checksums: dict[str, str] = {}
    for table, columns in tables.items():
        sent, found = _Sum(), _Sum()
        text = speech.text("copy_rows").replace("{table}", table).replace("{columns}", ", ".join(columns))
        for portion in _portions(file, table, columns):
            for row in portion:
                sent.add(row)
            await wire.execute(text, to_json([dict(zip(columns, row, strict=True)) for row in portion]))
        await wire.execute(f"DECLARE copied_{table} NO SCROLL CURSOR FOR SELECT {', '.join(columns)} FROM {table}")  # noqa: S608 - as above
        while fetched := await wire.fetch(f"FETCH {_ROWS_AT_ONCE} FROM copied_{table}"):
            for stored in fetched:
                found.add(tuple(stored))
        await wire.execute(f"CLOSE copied_{table}")
        if (sent.rows, sent.text) != (found.rows, found.text):
            raise UnavailableError(f"table {table} does not read back as it was written: {sent.rows} rows and {found.rows}")
        rows[table], checksums[table] = sent.rows, sent.text
    await wire.execute("COMMIT")
    return Moved(rows, checksums)


def _tables(file: Connection) -> dict[str, list[str]]:
    names = [row[0] for row in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")]
    return {name: [str(row[1]) for row in file.execute(f"PRAGMA table_info({name})")] for name in names if name not in _NOT_MOVED}


def _portions(file: Connection, table: str, columns: list[str]) -> Iterator[list[tuple[Any, ...]]]:
    portion: list[tuple[Any, ...]] = []
    for row in file.execute(f"SELECT {', '.join(columns)} FROM {table}"):  # noqa: S608 - names of our own schema
        if table == "nodes":
            # Who owned runs when the file was left is dead for the target: its runs are freed by the rules, and it is forgotten.
            row = tuple(_dead(dict(zip(columns, row, strict=True))).values())
        portion.append(row)
        if len(portion) == _ROWS_AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion


def _dead(node: dict[str, Any]) -> dict[str, Any]:
    return node | {"alive": 0, "lease_until": None}
