"""What readers ask of collections in PostgreSQL. A list is one snapshot, however many statements it takes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from stepwell.errors import ValidationError
from stepwell.store.plans import to_json
from stepwell.store.postgres_filters import PostgresText
from stepwell.store.postgres_reads import Reader
from stepwell.store.postgres_wire import DRIVER_ERRORS, sqlstate_of
from stepwell.store.record_queries import Asked, decode_ids, lookup_of, to_count, to_list, too_slow, within
from stepwell.store.records import ChangeRow, Changes, CollectionRow, RecordQuery, RecordRows, changed_in

_CALLED_OFF: Final = "57014"


async def find_record(reader: Reader, collection: str, id: str) -> str | None:
    """Return one record."""
    rows = await reader.rows("find_record", collection, id)
    return rows[0][0] if rows else None


async def find_collection(reader: Reader, name: str) -> CollectionRow | None:
    """Return what is settled for a collection."""
    rows = await reader.rows("find_collection", name)
    return CollectionRow._make(rows[0]) if rows else None


async def collections(reader: Reader) -> list[CollectionRow]:
    """Return all collections."""
    return [CollectionRow._make(row) for row in await reader.rows("collections")]


async def list_records(reader: Reader, query: RecordQuery, *, query_ms_max: int) -> RecordRows:
    """List records, count them, or both.

    Raises:
        ValidationError: It took longer than ``query_ms_max``. ``field`` is ``filter``.
    """
    async with _snapshot(reader, query_ms_max):
        lookup = lookup_of(await find_collection(reader, query.collection), query)
        total: int | None = None
        ids: list[tuple[str, int]] = []
        if query.with_total:
            asked = to_count(query, lookup, PostgresText)
            total = await reader.wire.fetchval(_text(reader, asked), *asked.parameters)
        if query.limit:
            asked = to_list(query, lookup, PostgresText)
            answer: str = await reader.wire.fetchval(_text(reader, asked), *asked.parameters)
            ids = decode_ids(answer)
        taken = within(ids, query.bytes_max)
        return RecordRows(await _texts(reader, query.collection, taken), total, len(taken) < len(ids))


async def changes(reader: Reader, collection: str, after: int | None, limit: int) -> Changes:
    """Return what was written to a collection behind a place; with None only where it stands."""
    row = await find_collection(reader, collection)
    seq = 0 if row is None else row.seq
    if after is None or seq == after:
        return Changes([], {}, seq, is_gap=False)
    rows = [ChangeRow._make(found) for found in await reader.rows("record_changes", collection, after, limit)]
    first: int | None = (await reader.rows("first_record_change", collection))[0][0]
    ids = changed_in(rows)
    found: Any = await reader.ask("find_records", list[tuple[str, str, str]], to_json([(collection, each) for each in ids]))
    return Changes(rows, {each: text for _, each, text in found}, seq, is_gap=first is None or first > after + 1)


async def _texts(reader: Reader, collection: str, ids: list[str]) -> list[str]:
    places = to_json([(collection, each) for each in ids])
    found: Any = await reader.ask("find_records", list[tuple[str, str, str]], places)
    return [text for _, _, text in found]


def _text(reader: Reader, asked: Asked) -> str:
    return asked.text(reader.speech.text(asked.name))


@asynccontextmanager
async def _snapshot(reader: Reader, ms_max: int) -> AsyncGenerator[None]:
    wire = reader.wire
    await wire.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {ms_max}")
    try:
        yield
    except DRIVER_ERRORS as error:
        if not wire.is_closed():
            await wire.execute("ROLLBACK")
        if sqlstate_of(error) == _CALLED_OFF:
            raise ValidationError(too_slow(ms_max), field="filter") from None
        raise
    except BaseException:
        if not wire.is_closed():
            wire.terminate()
        raise
    await wire.execute("COMMIT")
