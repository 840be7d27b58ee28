"""Collections in a store: it finds what plain Python finds, in the same order, whatever the values, with indexes and without."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell.progress import NewEvent, Recorded, RecordWrite, Refused, WriteRecords, Writing
from stepwell.records.evaluation import fits, in_order
from stepwell.records.expressions import Comparison, Every, Expression, Some
from stepwell.records.sorting import SortTerm
from stepwell.settings import Settings
from stepwell.store.base import Store
from stepwell.store.postgres import PostgresStore
from stepwell.store.records import BuildIndex, Built, Configure, Configured, RecordQuery, Written
from stepwell.store.sqlite import SqliteStore
from tests.store.acting import Node, SetClock
from tests.unit.strategies import TEXTS, plain, values


def _bounded(value: Any) -> Any:
    """What a filter's number becomes when it is parsed."""
    is_large = isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63
    return (1e308 if value > 0 else -1e308) if is_large else value


PATHS = st.sampled_from([("a",), ("b",), ("a", "b"), ("c",), ("id",)])
COMPARISONS = st.one_of(
    st.builds(Comparison, PATHS, st.sampled_from(["=", "!=", ">", ">=", "<", "<="]), plain.map(_bounded),
              st.booleans()),
    st.builds(Comparison, PATHS, st.sampled_from(["~", "!~"]), TEXTS, st.booleans()),
)  # fmt: skip
WHERES = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Every(tuple(parts)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: Some(tuple(parts)))
    ),
    max_leaves=5,
)
FIELDS = st.fixed_dictionaries({}, optional={"a": values, "b": values, "c": values})
TERMS = st.builds(SortTerm, PATHS, st.booleans())
SORTS = st.lists(TERMS, max_size=2, unique_by=lambda term: term.path).map(tuple)


@asynccontextmanager
async def _opened(url: str) -> AsyncGenerator[tuple[Store, Node]]:
    clock = SetClock()
    store: Store = (
        PostgresStore(url, clock=clock, settings=Settings()) if url else SqliteStore(None, clock=clock, settings=Settings())
    )
    await store.open()
    try:
        yield store, await Node(store, f"node-{uuid4()}", clock).enrol()
        assert await store.check() == []
    finally:
        await store.close()


@pytest.fixture(params=["memory", "postgres"])
def any_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


async def fill(node: Node, name: str, records: Sequence[dict[str, Any]]) -> None:
    """Create records with the ids r0, r1, ..."""
    writes = [
        RecordWrite(action="create", id=f"r{number}", data=msgspec.json.encode(record).decode())
        for number, record in enumerate(records)
    ]
    written = await node.do(WriteRecords(collection=name, writes=writes, write_id="w"))
    assert isinstance(written, Written)
    assert written.error is None


async def declare(node: Node, name: str, *fields: tuple[str, ...]) -> None:
    """Make indexes."""
    wanted = [(each, False) for each in fields]
    configured = await node.do(Configure(name=name, indexes=wanted, schema=None, at_ms=0))
    assert isinstance(configured, Configured)
    for number in configured.making:
        built = await node.do(BuildIndex(collection=name, number=number, after="", limit=1_000))
        assert built == Built(None)


async def listed(store: Store, name: str, where: Expression | None, sort: tuple[SortTerm, ...]) -> list[str]:
    """Return the ids of what is found, after it was walked two by two as well."""
    query = RecordQuery(collection=name, where=where, sort=sort, limit=100, with_total=True)
    found = await store.list_records(query)
    ids = [msgspec.json.decode(text)["id"] for text in found.texts]
    assert found.total == len(ids)
    walked: list[str] = []
    behind = None
    while True:
        step = RecordQuery(collection=name, where=where, sort=sort, limit=2, behind=behind)
        records = [msgspec.json.decode(text) for text in (await store.list_records(step)).texts]
        walked += [record["id"] for record in records]
        if not records:
            break
        behind = records[-1]
    assert walked == ids
    return ids


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(st.lists(FIELDS, min_size=1, max_size=7), st.lists(st.tuples(st.none() | WHERES, SORTS), min_size=1, max_size=4))
async def test_a_store_finds_what_plain_python_finds_with_indexes_and_without(
    any_url: str, records: list[dict[str, Any]], questions: list[tuple[Expression | None, tuple[SortTerm, ...]]]
):
    bare, indexed = f"bare {uuid4()}", f"indexed {uuid4()}"
    async with _opened(any_url) as (store, node):
        await fill(node, bare, records)
        await fill(node, indexed, records[:3])
        await declare(node, indexed, ("a",), ("b", "a"), ("c",))
        rest = [
            RecordWrite(action="upsert", id=f"r{number}", data=msgspec.json.encode(record).decode())
            for number, record in enumerate(records)
        ]
        await node.do(WriteRecords(collection=indexed, writes=rest, write_id="w2"))
        known = [{**record, "id": f"r{number}"} for number, record in enumerate(records)]
        for where, sort in questions:
            expected = [record for record in known if where is None or fits(where, record)]
            ids = [record["id"] for record in in_order(expected, sort)]
            assert await listed(store, bare, where, sort) == ids
            assert await listed(store, indexed, where, sort) == ids


@pytest.fixture
async def texts(store: Store, node: Node) -> Store:
    await fill(node, "texts", [{"t": text} for text in ["a", "B", "ä", "Z", "\uffff", "😀", "aa"]])
    return store


@pytest.mark.parametrize("index", [False, True])
async def test_texts_stand_in_the_order_of_code_points(texts: Store, node: Node, index: bool):
    if index:
        await declare(node, "texts", ("t",))
    found = await texts.list_records(RecordQuery(collection="texts", sort=(SortTerm(("t",)),), limit=10))
    assert [msgspec.json.decode(text)["t"] for text in found.texts] == ["B", "Z", "a", "aa", "ä", "\uffff", "😀"]


async def test_a_list_that_grows_too_long_ends_early_but_never_with_nothing(store: Store, node: Node):
    await fill(node, "large", [{"t": "x" * 1_000} for _ in range(5)])
    found = await store.list_records(RecordQuery(collection="large", limit=5, bytes_max=2_500))
    assert (len(found.texts), found.is_cut) == (2, True)
    found = await store.list_records(RecordQuery(collection="large", limit=5, bytes_max=1))
    assert (len(found.texts), found.is_cut) == (1, True)


async def test_a_write_that_is_asked_for_again_is_done_once(store: Store, node: Node):
    create = WriteRecords(collection="c", writes=[RecordWrite(action="create", id="r", data='{"n":1}')], write_id="w")
    first, again = await node.do(create), await node.do(create)
    assert first == again
    other = await node.do(WriteRecords(collection="c", writes=create.writes, write_id="other"))
    assert "has a record 'r' already" in str(other.error)
    delete = WriteRecords(collection="c", writes=[RecordWrite(action="delete", id="r")], write_id="d")
    assert (await node.do(delete)).records == (await node.do(delete)).records == [None]
    changes = await store.record_changes("c", 0, 10)
    assert [row.seq for row in changes.rows] == [1, 2]


async def test_writes_of_one_request_are_done_all_or_none_and_see_each_other(store: Store, node: Node):
    await node.do(Configure(name="c", indexes=[(("n",), True)], schema=None, at_ms=0))
    await node.do(BuildIndex(collection="c", number=1, after="", limit=10))

    async def write(*writes: RecordWrite) -> Written:
        done = await node.do(WriteRecords(collection="c", writes=writes, write_id=""))
        assert isinstance(done, Written)
        return done

    swapped = await write(
        RecordWrite(action="create", id="a", data='{"n":1}'),
        RecordWrite(action="update", id="a", data='{"n":2}'),
        RecordWrite(action="create", id="b", data='{"n":1}'),
        RecordWrite(action="delete", id="b"),
        RecordWrite(action="create", id="c", data='{"n":1}'),
    )
    assert swapped.error is None
    refused = await write(
        RecordWrite(action="create", id="d", data='{"n":3}'), RecordWrite(action="create", id="e", data='{"n":2}')
    )
    assert "1: n must be unique, and record 'a' of 'c' has this value" in str(refused.error)
    query = RecordQuery(collection="c", limit=10, sort=(SortTerm(("n",)),))
    found = await store.list_records(query)
    assert [msgspec.json.decode(text)["id"] for text in found.texts] == ["c", "a"]
    # What was taken in by a request that came to nothing is free.
    assert (await write(RecordWrite(action="create", id="e", data='{"n":3}'))).error is None
    assert await store.check() == []


async def test_a_progress_that_is_refused_writes_no_record(store: Store, node: Node):
    # promise 4
    row = await node.start("run")
    request = WriteRecords(collection="c", writes=[RecordWrite(action="create", id="r")], write_id="", is_one=True)
    stub = NewEvent("step_completed", "collection.create", "collection.create", "{}", node.clock.now_ms())
    writing = Writing(place=1, request=request)

    async def progress(turn: int) -> Any:
        return await node.do(node.progress("run", node.event(), stub, turn=turn, writings=[writing]))

    refused = await progress(row.turn + 1)
    assert isinstance(refused, Refused)
    assert await store.find_record("c", "r") is None
    recorded = await progress(row.turn)
    assert isinstance(recorded, Recorded)
    (event,) = recorded.written
    text = await store.find_record("c", "r")
    assert text is not None
    assert event.payload == f'{{"result":{text},"attempt":1,"startedAt":{stub.at_ms},"durationMs":0}}'
    assert (await node.history("run"))[-1].payload == event.payload
    # What is refused is recorded in its place, and changes nothing.
    again = await progress(row.turn)
    assert [(event.type, "has a record 'r' already" in event.payload) for event in again.written] == [("step_failed", True)]
    await node.commit(node.cancel("run"))
    assert isinstance(await progress(row.turn), Refused)
    assert await store.find_record("c", "r") == text
