"""Indexes of collections are used by PostgreSQL: what it looks at among a hundred thousand records.

Of each question, planned anew or once for all values, with statistics or before there are any.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import msgspec
import pytest

from stepwell.records.indexing import Index, key_of
from stepwell.records.parsing import parse
from stepwell.records.sorting import parse_sort
from stepwell.settings import Settings
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_filters import PostgresText
from stepwell.store.postgres_rows import Speech
from stepwell.store.record_queries import Asked, lookup_of, to_count, to_list
from stepwell.store.records import CollectionRow, Configure, RecordQuery
from tests import postgres
from tests.store.acting import Node, SetClock
from tests.store.test_records import declare

_SPEECH = Speech(None)
_RECORDS = 100_000
_LOOKED_AT_MAX = 5_000
"""Of keys and records together: what 1,000 keys need that are equal, and no more."""


@pytest.fixture(scope="module", params=["with statistics", "without"])
def filled(request: pytest.FixtureRequest, postgres_dsn: str) -> Iterator[str]:
    """A collection with indexes on ``n`` and on ``kind,n``, and another one beside it."""

    async def fill(url: str) -> None:
        clock = SetClock()
        store = PostgresStore(url, clock=clock, settings=Settings())
        await store.open()
        node = await Node(store, "node", clock).enrol()
        for name in ("c", "d"):
            await node.do(Configure(name=name, indexes=[], schema=None, at_ms=0))
            await declare(node, name, ("n",), ("kind", "n"))
        await store.close()
        indexes = Index(("n",), 1), Index(("kind", "n"), 2)
        records = [{"id": f"r{n:06}", "n": n, "kind": f"k{n % 100}", "text": "00" * 50} for n in range(_RECORDS)]
        texts = [(str(each["id"]), msgspec.json.encode(each).decode()) for each in records]
        keys = [(index.number, key_of(index, each), str(each["id"])) for index in indexes for each in records]
        connection = await asyncpg.connect(url)
        await connection.execute("ALTER TABLE records SET (autovacuum_enabled = off)")
        await connection.execute("ALTER TABLE record_keys SET (autovacuum_enabled = off)")
        for name, count in (("c", _RECORDS), ("d", 1_000)):
            await connection.copy_records_to_table("records", records=[(name, *each) for each in texts[:count]])
            await connection.copy_records_to_table("record_keys", records=[(name, *each) for each in keys[: 2 * count]])
        if request.param == "with statistics":
            await connection.execute("ANALYZE records, record_keys")
        await connection.close()

    with postgres.schema(postgres_dsn) as url:
        asyncio.run(fill(url))
        yield url


async def _asked(url: str, query: RecordQuery, *, counts: bool, is_generic: bool) -> tuple[int, Any, str]:
    """Return how many keys and records are looked at to answer a question, the answer, and the plan."""
    connection = await asyncpg.connect(url)
    try:
        row = CollectionRow._make((await connection.fetch(_SPEECH.text("find_collection"), "c"))[0])
        asked: Asked = (to_count if counts else to_list)(query, lookup_of(row, query), PostgresText)
        text = asked.text(_SPEECH.text(asked.name))
        answer = await connection.fetchval(text, *asked.parameters)
        await connection.execute(f"SET plan_cache_mode = force_{'generic' if is_generic else 'custom'}_plan")
        await connection.execute(f"PREPARE asked AS {text}")
        values = ", ".join("'" + str(value).replace("'", "''") + "'" for value in asked.parameters)
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked ({values})")
    finally:
        await connection.close()
    return _looked_at(msgspec.json.decode(plan)[0]["Plan"]), answer, plan


def _looked_at(node: dict[str, Any]) -> int:
    """Count the rows that a plan's scans have read, those that did not fit included."""
    inner = sum(_looked_at(each) for each in node.get("Plans", ()))
    if not re.search("Scan$", node["Node Type"]) or node["Node Type"] == "Subquery Scan":
        return inner
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return inner + int((node["Actual Rows"] + removed) * node["Actual Loops"])


_QUESTIONS = [
    ("kind = 'k7' && n = 707", "", 1),
    ("n = 707", "text", 1),
    ("kind = 'k7'", "", 30),
    ("kind = 'k7'", "n", 30),
    ("kind = 'k7'", "-n", 30),
    ("kind = 'k7'", "text", 30),
    ("kind = 'nothing'", "text", 0),
    ("kind = 'k7' && n >= 99000 && text ~ '0'", "-n", 10),
    ("n > 50000 && n <= 50010", "", 10),
    ("text ~ '00'", "kind,n", 30),
    ("", "", 30),
    ("", "kind,n", 30),
    ("", "-n", 30),
]


@pytest.mark.parametrize("is_generic", [False, True], ids=["planned anew", "planned once"])
@pytest.mark.parametrize(("where", "sort", "found"), _QUESTIONS)
async def test_an_index_is_read_and_nothing_is_scanned(filled: str, where: str, sort: str, found: int, is_generic: bool):
    query = RecordQuery(collection="c", where=parse(where), sort=parse_sort(sort), limit=30)
    looked_at, answer, plan = await _asked(filled, query, counts=False, is_generic=is_generic)
    assert len(msgspec.json.decode(answer)) == found
    assert looked_at <= _LOOKED_AT_MAX, plan


@pytest.mark.parametrize("is_generic", [False, True], ids=["planned anew", "planned once"])
@pytest.mark.parametrize(
    ("where", "sort"),
    [("", ""), ("", "n"), ("", "-n"), ("", "kind,n"), ("kind = 'k7'", "n"), ("kind = 'k7'", "-n"), ("kind = 'k7'", "")],
)  # fmt: skip
async def test_a_walk_goes_on_where_it_was(filled: str, where: str, sort: str, is_generic: bool):
    behind = {"id": "r050007", "n": 50_007, "kind": "k7"}
    query = RecordQuery(collection="c", where=parse(where), sort=parse_sort(sort), limit=31, behind=behind)
    looked_at, answer, plan = await _asked(filled, query, counts=False, is_generic=is_generic)
    assert len(msgspec.json.decode(answer)) == 31
    assert looked_at <= _LOOKED_AT_MAX, plan


@pytest.mark.parametrize("is_generic", [False, True], ids=["planned anew", "planned once"])
async def test_an_indexed_count_reads_the_index(filled: str, is_generic: bool):
    query = RecordQuery(collection="c", where=parse("kind = 'k7'"))
    looked_at, answer, plan = await _asked(filled, query, counts=True, is_generic=is_generic)
    assert answer == 1_000
    assert looked_at <= _LOOKED_AT_MAX, plan


async def test_without_an_index_everything_is_looked_at(filled: str):
    query = RecordQuery(collection="c", where=parse("text = 'x'"), limit=30)
    assert (await _asked(filled, query, counts=False, is_generic=False))[0] >= _RECORDS
