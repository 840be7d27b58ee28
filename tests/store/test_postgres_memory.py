"""What a node remembers of its runs from one batch to the next, and what others do to them in between, on a real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec import structs

from stepwell.errors import FencedError
from stepwell.failpoints import counters
from stepwell.progress import NewEvent, Recorded, Refused
from stepwell.settings import Settings
from stepwell.store.base import CANCELLED, Batch, NotApplied, Operation, Pause, RunQuery, Stored, Triggered
from stepwell.store.postgres import PostgresStore
from tests.proxy import Proxy
from tests.store.acting import LEASE_MS, Node, SetClock, waits_for


@pytest.fixture
async def nodes(cleared_url: str, clock: SetClock) -> AsyncIterator[list[Node]]:
    """Three nodes on one database."""
    stores = [PostgresStore(cleared_url, clock=clock, settings=Settings()) for _ in range(3)]
    for store in stores:
        await store.open()
    yield [await Node(store, f"node-{place}", clock).enrol() for place, store in enumerate(stores)]
    wrong = await stores[0].check()
    for store in stores:
        await store.close()
    assert wrong == []


async def test_what_is_remembered_is_not_locked_and_not_read_again(nodes: list[Node], monkeypatch: pytest.MonkeyPatch):
    node, turns = nodes[0], list[str]()
    await node.start("a")
    await node.start("b")
    assert isinstance(node.store, PostgresStore)
    wire = node.store._writer
    assert wire is not None
    execute = wire.execute

    async def listen(text: str, *parameters: object) -> str:
        turns.append(text.split(maxsplit=1)[0])
        return await execute(text, *parameters)

    class Listening:
        def __getattr__(self, name: str) -> object:
            assert name not in ("fetch", "fetchval"), "it was asked"
            return listen if name == "execute" else getattr(wire, name)

    monkeypatch.setattr(node.store, "_writer", Listening())
    results = await node.commit(node.progress("b", node.event("x")), node.progress("a", node.event("y")))
    assert results == [Recorded(3, 0, True, ""), Recorded(3, 0, True, "")]
    assert turns == ["BEGIN", "WITH", "COMMIT"]


_OTHERS: dict[str, Callable[[Node], Operation]] = {
    "signal": lambda node: node.put("a"),
    "event": lambda node: node.emit("a"),
    "pause": lambda node: Pause(run_id="a", reason="asked", at_ms=node.clock.now_ms()),
}


@pytest.mark.parametrize("what", sorted(_OTHERS))
async def test_what_another_node_does_in_between_is_seen(nodes: list[Node], what: str):
    node, other = nodes[0], nodes[1]
    await node.start("a")
    await node.start("b")
    await node.commit(node.progress("a", node.event("one")), node.progress("b", node.event("one")))
    await other.do(_OTHERS[what](other))
    before = counters["store.repeated"]
    recorded, beside = await node.commit(node.progress("a", node.event("two")), node.progress("b", node.event("two")))
    assert counters["store.repeated"] == before + 1
    row = await node.row("a")
    assert recorded == Recorded(row.seq, row.mailbox_seq, True, "pause" if what == "pause" else "")
    assert beside == Recorded(4, 0, True, "")
    types = await node.types("a")
    assert types == ["run_created", "run_started", "step_completed", *(["seen"] if what == "event" else []), "step_completed"]
    assert row.mailbox_seq == (0 if what == "event" else 1)


async def test_a_run_that_another_node_has_cancelled_is_refused_and_its_neighbour_is_not(nodes: list[Node]):
    node, other = nodes[0], nodes[1]
    await node.start("a")
    await node.start("b")
    await other.do(other.cancel("a"))
    refused, recorded = await node.commit(node.progress("a", node.event()), node.progress("b", node.event()))
    assert refused == Refused("guard", 3)
    assert recorded == Recorded(3, 0, True, "")
    assert (await node.row("a")).status == CANCELLED


async def test_a_suspension_is_not_done_over_a_signal_that_came_in_between(nodes: list[Node]):
    node, other = nodes[0], nodes[1]
    await node.start("a")
    await other.do(other.put("a"))
    recorded = await node.do(node.suspend("a"))
    assert recorded == Recorded(2, 1, False, "")  # promise 6: the wake-up is not lost
    assert (await node.row("a")).owner == "node-0"


async def test_a_refusal_is_never_told_from_memory(nodes: list[Node]):
    node = nodes[0]
    await node.start("a", max_events=4)
    before = counters["store.outdated"]
    full = node.progress("a", node.event("1"), node.event("2"))
    assert await node.do(full) == Refused("limit", 2)
    assert counters["store.outdated"] == before + 1


async def test_who_waits_for_a_run_on_another_node_hears_of_an_end_that_was_written_from_memory(nodes: list[Node]):
    node, other = nodes[0], nodes[1]
    await node.start("a")
    await other.start("waits")
    await other.do(other.progress("waits", other.event("ask"), awaits=["a"]))
    await node.do(node.progress("a", final=node.final()))
    assert (await node.row("waits")).mailbox_seq == 1
    assert [message.name for message in (await node.store.messages(["waits"]))["waits"]] == ["a"]


async def test_a_node_that_was_buried_is_fenced_by_a_batch_from_memory_and_nothing_of_it_is_written(
    nodes: list[Node], clock: SetClock
):
    node, other = nodes[0], nodes[1]
    await node.start("a")
    clock.advance(LEASE_MS + 1)
    assert await other.do(other.bury()) == 1
    with pytest.raises(FencedError):
        await node.commit(node.progress("a", node.event()))
    assert await other.types("a") == ["run_created", "run_started"]


async def test_a_node_that_is_buried_while_a_batch_from_memory_is_on_its_way_is_fenced(nodes: list[Node], other: Any, spy: Any):
    node = nodes[0]
    await node.start("a")
    transaction = other.transaction()
    await transaction.start()
    await other.execute("UPDATE nodes SET alive = 0 WHERE node_id = 'node-0'")
    commit = asyncio.create_task(node.commit(node.progress("a", node.event())))
    await waits_for(other, spy)
    await transaction.commit()
    with pytest.raises(FencedError):
        await commit
    assert await nodes[1].types("a") == ["run_created", "run_started"]


async def test_a_row_that_somebody_writes_as_it_was_holds_a_batch_from_memory_up_and_no_more(
    nodes: list[Node], other: Any, spy: Any
):
    node = nodes[0]
    await node.start("a")
    transaction = other.transaction()
    await transaction.start()
    await other.execute("UPDATE runs SET tags = tags WHERE run_id = 'a'")
    before = counters["store.repeated"]
    commit = asyncio.create_task(node.commit(node.progress("a", node.event())))
    await waits_for(other, spy)
    await transaction.commit()
    assert await commit == [Recorded(3, 0, True, "")]
    assert counters["store.repeated"] == before


async def test_values_are_bound_so_that_neither_activity_nor_log_of_the_server_shows_a_payload(
    nodes: list[Node], other: Any, spy: Any
):
    node = nodes[0]
    await node.start("a")
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT 1 FROM runs WHERE run_id = 'a' FOR UPDATE")
    secret = NewEvent("step_completed", "secret", "secret", '"secret"', node.clock.now_ms())
    commit = asyncio.create_task(node.commit(node.progress("a", secret)))
    await waits_for(other, spy)
    texts = [text for (text,) in await spy.fetch("SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock'")]
    await transaction.commit()
    assert await commit == [Recorded(3, 0, True, "")]
    (text,) = [text for text in texts if "INSERT INTO events" in text]
    assert "secret" not in text
    assert node.node_id not in text


@pytest.mark.parametrize("text", ["it's", 'a "quote"', "back\\slash", "$$ $1 $q$ $2", "{is_ours} %s ?", "😀\n\t", "';--"])
async def test_whatever_a_payload_holds_is_kept_as_it_is(nodes: list[Node], text: str):
    node = nodes[0]
    await node.start("a")
    await node.do(node.progress("a", NewEvent("step_completed", text, text, text, node.clock.now_ms())))
    last = (await node.history("a"))[-1]
    assert (last.step_id, last.name, last.payload) == (text, text, text)


async def test_nodes_that_write_from_memory_and_signal_each_others_runs_get_through(nodes: list[Node]):
    runs = {node.node_id: [f"{name}-{place}" for name in "cab"] for place, node in enumerate(nodes)}
    for node in nodes:
        await node.commit(*(node.new(run_id, claim=True) for run_id in runs[node.node_id]))
    everything = [run_id for names in runs.values() for run_id in names]

    async def work(node: Node) -> None:
        for turn in range(10):
            mine = [node.progress(run_id, node.event(f"step-{turn}")) for run_id in runs[node.node_id]]
            assert all(isinstance(result, Recorded) for result in await node.commit(*mine))
            puts = [node.put(run_id, f"{node.node_id}/{turn}") for run_id in everything]
            assert all(isinstance(result, Stored) and result.reason == "stored" for result in await node.commit(*puts))

    await asyncio.gather(*(work(node) for node in nodes))
    for run_id in everything:
        row = await nodes[0].row(run_id)
        assert (row.seq, row.mailbox_seq) == (12, 30)
        assert (await nodes[0].types(run_id)).count("step_completed") == 10


# -- the next batch is begun ahead


def _followed(node: Node, *operations: Operation) -> Batch:
    return structs.replace(node.batch(*operations), is_followed=lambda: True)


async def test_batches_that_are_begun_ahead_are_committed_like_others(nodes: list[Node]):
    node = nodes[0]
    for place in range(5):
        committed = await node.store.commit(_followed(node, node.new(f"r{place}", claim=True)))
        node.number += 1
        assert [type(result) for result in committed.results] == [Triggered]
    await node.commit(node.new("last"))
    assert {stored.row.run_id for stored in await nodes[1].store.list_runs(RunQuery(limit=10))} == {
        "last", *(f"r{place}" for place in range(5))
    }  # fmt: skip


async def test_a_batch_that_was_begun_ahead_and_lost_its_connection_is_begun_again(cleared_url: str, clock: SetClock):
    port = urlsplit(cleared_url).port
    assert port is not None
    async with Proxy("127.0.0.1", port) as proxy:
        store = PostgresStore(cleared_url.replace(f":{port}/", f":{proxy.port}/"), clock=clock, settings=Settings())
        await store.open()
        node = await Node(store, "node", clock).enrol()
        await store.commit(_followed(node, node.new("first")))
        node.number += 1
        assert proxy.cut() > 0
        with contextlib.suppress(NotApplied):  # unless it has heard of it already
            await node.commit(node.new("second"))
        await node.commit(node.new("third"))
        found = {stored.row.run_id for stored in await store.list_runs(RunQuery(limit=10))}
        await store.close()
    assert found - {"second"} == {"first", "third"}
