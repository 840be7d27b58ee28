"""What readers ask of collections. Each function is one snapshot of the database, on a connection that only reads."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import apsw

from stepwell.clock import Clock
from stepwell.errors import ValidationError
from stepwell.store.plans import to_json
from stepwell.store.record_queries import Asked, decode_ids, lookup_of, to_count, to_list, too_slow, within
from stepwell.store.records import ChangeRow, Changes, CollectionRow, RecordQuery, RecordRows, changed_in
from stepwell.store.sqlite_connection import Connection
from stepwell.store.sqlite_filters import SqliteText
from stepwell.store.sqlite_rows import Question, all_rows
from stepwell.store.statements import statement

_FIND: Final = statement("common/find_record")
_FIND_MANY: Final = Question("sqlite/find_records")
_COLLECTION: Final = statement("common/find_collection")
_COLLECTIONS: Final = statement("common/collections")
_CHANGES: Final = statement("common/record_changes")
_FIRST_CHANGE: Final = statement("common/first_record_change")
_LISTS: Final = {
    name: statement(f"sqlite/{name}")
    for name in ("list_records", "list_records_by_key", "count_records", "count_records_by_key")
}  # fmt: skip

_STEPS_BETWEEN_LOOKS: Final = 100_000
"""Instructions of SQLite's virtual machine: some milliseconds."""


def find_record(connection: Connection, collection: str, id: str) -> str | None:
    """Return one record."""
    text: str | None = connection.execute(_FIND, (collection, id)).get
    return text


def find_collection(connection: Connection, name: str) -> CollectionRow | None:
    """Return what is settled for a collection."""
    rows = all_rows(connection, _COLLECTION, name)
    return CollectionRow._make(rows[0]) if rows else None


def collections(connection: Connection) -> list[CollectionRow]:
    """Return all collections."""
    return [CollectionRow._make(row) for row in all_rows(connection, _COLLECTIONS)]


def list_records(connection: Connection, query: RecordQuery, clock: Clock, *, query_ms_max: int) -> RecordRows:
    """List records, count them, or both.

    Raises:
        ValidationError: It took longer than ``query_ms_max``. ``field`` is ``filter``.
    """
    lookup = lookup_of(find_collection(connection, query.collection), query)
    total: int | None = None
    ids: list[tuple[str, int]] = []
    with _limited(connection, clock, query_ms_max):
        if query.with_total:
            total = _ask(connection, to_count(query, lookup, SqliteText))
        if query.limit:
            ids = decode_ids(_ask(connection, to_list(query, lookup, SqliteText)))
    taken = within(ids, query.bytes_max)
    places = to_json([(query.collection, record_id) for record_id in taken])
    found = _FIND_MANY.ask(connection, list[tuple[str, str, str]], places)
    return RecordRows([text for _, _, text in found], total, len(taken) < len(ids))


def _ask(connection: Connection, asked: Asked) -> Any:
    return connection.execute(asked.text(_LISTS[asked.name]), asked.parameters).get


def changes(connection: Connection, collection: str, after: int | None, limit: int) -> Changes:
    """Return what was written to a collection behind a place; with None only where it stands."""
    row = find_collection(connection, collection)
    seq = 0 if row is None else row.seq
    if after is None or seq == after:
        return Changes([], {}, seq, is_gap=False)
    rows = [ChangeRow._make(found) for found in all_rows(connection, _CHANGES, collection, after, limit)]
    first: int | None = connection.execute(_FIRST_CHANGE, (collection,)).get
    places = [(collection, record_id) for record_id in changed_in(rows)]
    found = _FIND_MANY.ask(connection, list[tuple[str, str, str]], to_json(places))
    return Changes(rows, {changed: text for _, changed, text in found}, seq, is_gap=first is None or first > after + 1)


@contextmanager
def _limited(connection: Connection, clock: Clock, ms_max: int) -> Generator[None]:
    late_ms = clock.boot_ms() + ms_max
    look: Callable[[], bool] = lambda: clock.boot_ms() > late_ms  # noqa: E731
    connection.set_progress_handler(look, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except apsw.InterruptError:
        raise ValidationError(too_slow(ms_max), field="filter") from None
    finally:
        connection.set_progress_handler(None, 0)
