"""Indexes of collections are used: what SQLite does at a hundred thousand records, and how much it looks at."""

import asyncio
from collections.abc import Iterator

import apsw
import msgspec
import pytest

from stepwell.records.indexing import Index, key_of
from stepwell.records.parsing import parse
from stepwell.records.sorting import parse_sort
from stepwell.settings import Settings
from stepwell.store.record_queries import lookup_of, to_count, to_list
from stepwell.store.records import CollectionRow, Configure, RecordQuery
from stepwell.store.sqlite import SqliteStore
from stepwell.store.sqlite_filters import SqliteText
from stepwell.store.statements import statement
from tests.store.acting import Node, SetClock
from tests.store.test_records import declare

_RECORDS = 100_000


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    """A collection with indexes on ``n`` and on ``kind,n``; without statistics, as it is in real life."""
    path = tmp_path_factory.mktemp("records") / "store.db"

    async def create() -> None:
        clock = SetClock()
        store = SqliteStore(path, clock=clock, settings=Settings())
        await store.open()
        node = await Node(store, "node", clock).enrol()
        await node.do(Configure(name="c", indexes=[], schema=None, at_ms=0))
        await declare(node, "c", ("n",), ("kind", "n"))
        await store.close()

    asyncio.run(create())
    connection = apsw.Connection(str(path))
    indexes = Index(("n",), 1), Index(("kind", "n"), 2)
    records = [{"id": f"r{n:06}", "n": n, "kind": f"k{n % 100}", "text": "00" * 50} for n in range(_RECORDS)]
    with connection:
        connection.executemany(
            "INSERT INTO records VALUES ('c', ?, ?)", [(each["id"], msgspec.json.encode(each).decode()) for each in records]
        )
        for index in indexes:
            keys = [(index.number, key_of(index, each), str(each["id"])) for each in records]
            connection.executemany("INSERT INTO record_keys VALUES ('c', ?, ?, ?)", keys)
    yield connection
    connection.close()


def _asked(connection: apsw.Connection, where: str, sort: str, *, counts: bool) -> tuple[list[str], int, int]:
    """Return how a question is answered, how many thousand instructions that takes, and how many records are found."""
    row = CollectionRow._make(connection.execute(statement("common/find_collection"), ("c",)).fetchall()[0])
    query = RecordQuery(collection="c", where=parse(where), sort=parse_sort(sort), limit=30)
    asked = (to_count if counts else to_list)(query, lookup_of(row, query), SqliteText)
    text = asked.text(statement(f"sqlite/{asked.name}"))
    plan = [line[3] for line in connection.execute("EXPLAIN QUERY PLAN " + text, asked.parameters).fetchall()]
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    connection.set_progress_handler(count, 1_000)
    try:
        answer = connection.execute(text, asked.parameters).get
    finally:
        connection.set_progress_handler(None)
    return plan, steps, answer if counts else len(msgspec.json.decode(answer))


@pytest.mark.parametrize(
    ("where", "sort", "found"),
    [
        ("kind = 'k7' && n = 707", "", 1),
        ("n = 707", "text", 1),
        ("kind = 'k7'", "n", 30),
        ("kind = 'k7'", "-n", 30),
        ("kind = 'nothing'", "text", 0),
        ("kind = 'k7' && n >= 99000 && text ~ '0'", "-n", 10),
        ("n > 50000 && n <= 50010", "", 10),
        ("text ~ '00'", "kind,n", 30),
        ("", "", 30),
        ("", "kind,n", 30),
        ("", "-n", 30),
    ],
)
def test_an_index_is_read_and_nothing_is_scanned_or_sorted(filled: apsw.Connection, where: str, sort: str, found: int):
    plan, steps, count = _asked(filled, where, sort, counts=False)
    assert count == found
    assert not any(line.startswith(("SCAN r", "SCAN k")) for line in plan), plan
    assert steps < 100, plan


def test_an_indexed_count_reads_the_index(filled: apsw.Connection):
    plan, steps, count = _asked(filled, "kind = 'k7'", "", counts=True)
    assert count == 1_000
    assert any("SEARCH k" in line for line in plan), plan
    assert steps < 100


def test_without_an_index_everything_is_looked_at(filled: apsw.Connection):
    assert _asked(filled, "text = 'x'", "", counts=False)[1] > 500
