"""Writing all rows of a store into an empty PostgreSQL, in one transaction that reads them back before it commits."""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from stepwell.clock import Clock
from stepwell.errors import ConflictError, StepwellError, UnavailableError
from stepwell.failpoints import failpoint
from stepwell.settings import Settings
from stepwell.store.access import AuditRow
from stepwell.store.base import DataRefused
from stepwell.store.nodes import processes
from stepwell.store.plans import to_json
from stepwell.store.postgres_address import Address
from stepwell.store.postgres_migrate import migrate
from stepwell.store.postgres_pool import Pool
from stepwell.store.postgres_rows import Speech, changed
from stepwell.store.postgres_wire import DRIVER_ERRORS, Wire, not_committed, not_readable, sqlstate_of
from stepwell.store.sqlite_connection import Connection

_ROWS_AT_ONCE: Final = 1_000
_LENGTH_AT_ONCE: Final = 8 * 1024 * 1024
"""Of the texts of rows that are sent, or read back, together. PostgreSQL takes a JSON list of 256 MB at most."""

_LOG: Final = "audit"
"""May hold entries: that the schema was made or migrated, say."""

_TOLD_EACH: Final = 100_000
_LEASE_MS: Final = 60_000
_FORESEEN: Final[tuple[type[Exception], ...]] = (StepwellError, *DRIVER_ERRORS)
_NO_SUCH_TABLE: Final = "42P01"
_KEY_IS_THERE: Final = "23505"

_encode = msgspec.json.Encoder().encode

Tables: TypeAlias = Mapping[str, Sequence[str]]
"""The columns of each table."""


class Moved(NamedTuple):
    """What was moved: rows and a checksum, by table."""

    rows: dict[str, int]
    checksums: dict[str, str]


class _Sum:
    """Counts rows, and adds up their hashes: the order in which they come does not matter."""

    def __init__(self) -> None:
        self.rows = 0
        self.longest = 1
        self._total = 0

    def add(self, row: tuple[Any, ...]) -> None:
        self.rows += 1
        text = _encode(row)
        self.longest = max(self.longest, len(text))
        self._total = (self._total + int.from_bytes(hashlib.sha256(text).digest()[:16])) % (1 << 128)

    @property
    def text(self) -> str:
        return f"{self._total:032x}"


async def copy_all(
    file: Connection, tables: Tables, address: Address, entry: AuditRow, *, clock: Clock, settings: Settings,
    tell: Callable[[str], None],
) -> Moved:  # fmt: skip
    """Copy these tables, and append an entry to the target's audit log, in one transaction.

    Raises:
        ConflictError: The target holds something, or another process writes to it. Nothing was moved.
        UnavailableError: The target cannot be used, or what was written does not read back the same. Nothing was moved, unless
            the text says that this is not known.
    """
    speech = Speech(None)
    pool = Pool(address, speech, clock=clock, settings=settings)
    try:
        wire = await pool.connect()
        try:
            # Before anything is changed there: what holds something is not even brought up to this code.
            await _refuse_filled(wire, speech, tables)
            await migrate(wire, speech, address.name, secrets.token_hex(8))
            await _begin(wire, speech, must_sync=pool.must_sync)
            await _refuse_filled(wire, speech, tables)
            moved = await _copy(file, wire, speech, tables, tell)
            await wire.execute(speech.text("insert_audit"), to_json([entry]))
            failpoint("move.before_commit")
        except _FORESEEN as error:
            raise _told(error, address.name) from error
        await _commit(wire, address.name)
        failpoint("move.after_commit")
        return moved
    finally:
        await pool.close()


async def _begin(wire: Wire, speech: Speech, *, must_sync: bool) -> None:
    """Begin the transaction. Of two that move to one target at once, the second waits here until the first is done."""
    sync = "; SET LOCAL synchronous_commit = on" if must_sync else ""
    await wire.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED{sync}")
    holder = secrets.token_hex(8)
    if changed(await wire.execute(speech.text("take_lease"), holder, _LEASE_MS, "migrate")) != 1:
        raise ConflictError("the target is being migrated by another process: try again in a minute")
    # Given back at once, in the same transaction: until its end the row stays locked, and afterwards nobody holds the lease.
    await wire.execute(speech.text("give_lease"), "migrate", holder)


async def _refuse_filled(wire: Wire, speech: Speech, tables: Tables) -> None:
    for table in tables:
        if table == _LOG:
            continue
        try:
            is_filled = await wire.fetchval(speech.text("any_row").replace("{table}", table))
        except DRIVER_ERRORS as error:
            if sqlstate_of(error) != _NO_SUCH_TABLE:
                raise
            continue
        if is_filled:
            who = f" by {await _nodes(wire, speech)}" if table == "nodes" else f": its table {table} is not empty"
            raise ConflictError(
                f"the target is in use{who}. Name an empty database, or an empty schema "
                "(?search_path=). If a move to it was interrupted: it has moved all or nothing, and `stepwell db audit` tells"
            )


async def _nodes(wire: Wire, speech: Speech) -> str:
    return processes([info for _, info in await wire.fetch(speech.text("live_nodes"))]) or "nodes that have died"


async def _copy(file: Connection, wire: Wire, speech: Speech, tables: Tables, tell: Callable[[str], None]) -> Moved:
    rows: dict[str, int] = {}
    checksums: dict[str, str] = {}
    for table, columns in tables.items():
        sent, found = _Sum(), _Sum()
        if table == _LOG:
            await _read(wire, table, columns, sent)
        before = sent.rows
        text = speech.text("copy_rows").replace("{table}", table).replace("{columns}", ", ".join(columns))
        for portion in _portions(file, table, columns):
            told = sent.rows // _TOLD_EACH
            for row in portion:
                sent.add(row)
            await wire.execute(text, to_json([dict(zip(columns, row, strict=True)) for row in portion]))
            if sent.rows // _TOLD_EACH > told:
                tell(f"{table}: {sent.rows:,} rows")
        failpoint("move.copied")
        await _read(wire, table, columns, found, at_once=max(1, min(_ROWS_AT_ONCE, _LENGTH_AT_ONCE // sent.longest)))
        if (sent.rows, sent.text) != (found.rows, found.text):
            raise UnavailableError(
                f"table {table} of the target does not read back as it was written, {sent.rows} rows and {found.rows}: does a "
                "trigger change them, or does somebody else write to it? Nothing was moved"
            )
        rows[table], checksums[table] = sent.rows - before, sent.text
    return Moved(rows, checksums)


async def _read(wire: Wire, table: str, columns: Sequence[str], into: _Sum, at_once: int = _ROWS_AT_ONCE) -> None:
    # Under a name of its own: a statement that was prepared for another cursor of this name would expect its columns.
    await wire.execute(f"DECLARE copied_{table} NO SCROLL CURSOR FOR SELECT {', '.join(columns)} FROM {table}")  # noqa: S608 - names of our own schema
    while fetched := await wire.fetch(f"FETCH {at_once} FROM copied_{table}"):
        for stored in fetched:
            into.add(tuple(stored))
    await wire.execute(f"CLOSE copied_{table}")


async def _commit(wire: Wire, name: str) -> None:
    try:
        done = await wire.execute("COMMIT")
    except DRIVER_ERRORS as error:
        if sqlstate_of(error) and not wire.is_closed():
            raise _told(error, name) from error
        raise UnavailableError(
            f"the connection to {name} was lost while the move was committed: it is not known whether it was done. Move again: "
            "a target that has everything by now is refused as not empty"
        ) from error
    if done != "COMMIT":
        raise UnavailableError(f"{name} has rolled back: nothing was moved")


def _told(error: Exception, name: str) -> StepwellError:
    """Return what to raise for an error before the commit."""
    if isinstance(error, StepwellError):
        return error
    if sqlstate_of(error) == _KEY_IS_THERE:
        return ConflictError(f"the target is in use: somebody else has written to it meanwhile ({error}). Nothing was moved")
    known = not_readable(error, name) or not_committed(error)
    if known is None or isinstance(known, DataRefused):
        return UnavailableError(f"{name} refuses what is moved there ({error or type(error).__name__}). Nothing was moved")
    return known


def _portions(file: Connection, table: str, columns: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
    portion: list[tuple[Any, ...]] = []
    length = 0
    for row in file.execute(f"SELECT {', '.join(columns)} FROM {table}"):  # noqa: S608 - names of our own schema
        if table == "nodes":
            # Who owned runs when the file was left is dead for the target: its runs are freed by the rules, and it is forgotten.
            row = tuple(_dead(dict(zip(columns, row, strict=True))).values())
        portion.append(row)
        length += sum(len(value) for value in row if isinstance(value, str))
        if len(portion) == _ROWS_AT_ONCE or length >= _LENGTH_AT_ONCE:
            yield portion
            portion, length = [], 0
    if portion:
        yield portion


def _dead(node: dict[str, Any]) -> dict[str, Any]:
    return node | {"alive": 0, "lease_until": None}
