"""What other transactions do while a batch is under way: each trap of READ COMMITTED, on a real server."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from stepwell import failpoints
from stepwell.clock import Clock
from stepwell.errors import FencedError
from stepwell.failpoints import counters
from stepwell.progress import Recorded, Refused
from stepwell.settings import Settings
from stepwell.store.base import Batch, BatchState, Claimed, NotApplied, OutcomeUnknown, Stored, Triggered
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_capabilities import SWITCHES
from tests.proxy import Proxy
from tests.store.acting import LEASE_MS, Node, SetClock, waits_for


async def opened(url: str, clock: Clock | None = None, **settings: int) -> PostgresStore:
    store = PostgresStore(url, clock=clock or SetClock(), settings=Settings(**settings))
    await store.open()
    return store


@pytest.fixture(params=[(), SWITCHES], ids=["", "lacks-all"])
async def stores(request: pytest.FixtureRequest, cleared_url: str, clock: SetClock) -> AsyncIterator[list[PostgresStore]]:
    """Four nodes' stores on one database, which may lack whatever can be missing."""
    stores = [await opened(f"{cleared_url}&without={','.join(request.param)}", clock) for _ in range(4)]
    yield stores
    wrong = await stores[0].check()
    for store in stores:
        await store.close()
    assert wrong == []


@pytest.fixture
async def nodes(stores: list[PostgresStore], clock: SetClock) -> list[Node]:
    return [await Node(store, f"node-{place}", clock).enrol() for place, store in enumerate(stores)]


async def test_a_run_that_was_taken_away_while_a_commit_waited_for_its_row_is_refused(nodes: list[Node], other: Any, spy: Any):
    await nodes[0].start("r")
    async with other.transaction():
        await other.execute("UPDATE runs SET owner = NULL, turn = turn + 1, wake_at = 1 WHERE run_id = 'r'")
        commit = asyncio.create_task(nodes[0].commit(nodes[0].progress("r", nodes[0].event()), nodes[0].put("r")))
        await waits_for(other, spy)
    refused, stored = await commit
    # The guard has seen the row as it is now, and so has the message.
    assert refused == Refused("guard", 2)
    assert stored == Stored("stored", 1, None)


async def test_two_operations_on_one_run_in_one_batch_are_both_done(nodes: list[Node]):
    node = nodes[0]
    await node.start("r")
    results = await node.commit(
        node.progress("r", node.event("a")),
        node.progress("r", node.event("b")),
        node.emit("r"),
        node.put("r", "m1"),
        node.put("r", "m2"),
    )
    assert [type(result) for result in results] == [Recorded, Recorded, Stored, Stored, Stored]
    row = await node.row("r")
    assert (row.seq, row.mailbox_seq) == (5, 2)


@pytest.mark.parametrize("stores", [()], indirect=True)
async def test_a_node_whose_row_is_locked_is_committing_and_not_dead(nodes: list[Node], other: Any, clock: SetClock):
    alive, late = nodes[0], nodes[1]
    await late.commit()
    clock.advance(LEASE_MS + 1)
    async with other.transaction():
        await other.execute("UPDATE nodes SET batch = batch WHERE node_id = 'node-1'")
        assert await alive.do(alive.bury()) == 0
    assert await alive.do(alive.bury()) == 1


async def test_a_node_that_has_renewed_its_lease_while_somebody_waited_to_bury_it_is_not_dead(
    nodes: list[Node], other: Any, clock: SetClock, spy: Any
):
    await nodes[1].commit()
    clock.advance(LEASE_MS + 1)
    async with other.transaction():
        await other.execute(f"UPDATE nodes SET lease_until = {clock.now_ms() + LEASE_MS} WHERE node_id = 'node-1'")
        bury = asyncio.create_task(nodes[0].do(nodes[0].bury()))
        if not nodes[0].store.has.skip_locked:
            await waits_for(other, spy)
        else:
            await bury
    assert await bury == 0


async def test_a_node_that_was_buried_while_its_commit_waited_is_fenced(nodes: list[Node], other: Any, spy: Any):
    async with other.transaction():
        await other.execute("UPDATE nodes SET alive = 0 WHERE node_id = 'node-0'")
        commit = asyncio.create_task(nodes[0].commit(nodes[0].new("r")))
        await waits_for(other, spy)
    with pytest.raises(FencedError):
        await commit


async def test_runs_of_a_node_that_has_enrolled_a_moment_ago_are_not_freed(nodes: list[Node], clock: SetClock):
    # With NOT IN (those alive), a node that enrols between the two looks would lose its runs.
    for turn in range(20):
        new = await Node(nodes[1].store, f"new-{turn}", clock).enrol()
        started, freed = await asyncio.gather(new.commit(new.new(f"r{turn}", claim=True)), nodes[0].do(nodes[0].free()))
        assert freed.run_ids == []
        assert started[0].claimed
        assert (await new.row(f"r{turn}")).owner == new.node_id


async def test_of_nodes_that_add_one_key_at_once_one_makes_the_run_and_all_are_told(nodes: list[Node]):
    for turn in range(20):
        told = await asyncio.gather(
            *(node.commit(node.new(f"{node.node_id}-{turn}", idempotency_key=f"k{turn}")) for node in nodes)
        )
        results = [result for (result,) in told]
        assert all(isinstance(result, Triggered) for result in results)
        assert sorted(result.reason for result in results) == ["created", "same", "same", "same"]
        assert len({result.row.run_id for result in results}) == 1


async def test_of_nodes_that_add_one_run_at_once_one_makes_it(nodes: list[Node]):
    told = await asyncio.gather(*(node.commit(*(node.new(f"r{n}") for n in range(50))) for node in nodes))
    reasons = [result.reason for results in told for result in results]
    assert (reasons.count("created"), reasons.count("same")) == (50, 150)


async def test_of_nodes_that_start_one_run_with_a_signal_each_no_signal_is_lost(nodes: list[Node]):
    # promise 1: the run may come into being between the look that locks it and the look that finds it.
    for turn in range(40):
        run_id = f"r{turn}"
        told = await asyncio.gather(
            *(node.commit(node.new(run_id, signal=node.put(run_id, f"from {node.node_id}"))) for node in nodes)
        )
        assert sorted(result.reason for (result,) in told) == ["created", "same", "same", "same"]
        assert (await nodes[0].row(run_id)).mailbox_seq == len(nodes)


async def test_a_run_is_claimed_by_one_of_many(nodes: list[Node]):
    await nodes[0].commit(*(nodes[0].new(f"r{n:03}") for n in range(400)))

    async def claim_all(node: Node) -> list[str]:
        mine: list[str] = []
        while True:
            result = await node.do(node.claim(limit=20))
            assert isinstance(result, Claimed)
            mine += [row.run_id for row in result.rows]
            if not result.rows:
                return mine

    taken = await asyncio.gather(*(claim_all(node) for node in nodes))
    # What one has looked at and not taken, another may have skipped at its last look.
    everything = sorted([run_id for some in taken for run_id in some] + await claim_all(nodes[0]))
    assert everything == [f"r{n:03}" for n in range(400)]


async def test_a_run_that_was_freed_or_has_expired_meanwhile_is_not_taken_again(nodes: list[Node], clock: SetClock):
    for n in range(20):
        await nodes[3].start(f"freed{n}")
        await nodes[2].start(f"late{n}", timeout_ms=10)
    await nodes[0].do(nodes[0].bury("node-3"))
    clock.advance(11)
    freed = await asyncio.gather(*(node.do(node.free()) for node in nodes[:3]))
    assert sorted(run_id for some in freed for run_id in some.run_ids) == sorted(f"freed{n}" for n in range(20))
    late = await asyncio.gather(*(node.do(node.expire(owned_after_ms=0)) for node in nodes[:3]))
    assert sorted(run_id for some in late for run_id in some) == sorted(f"late{n}" for n in range(20))
    for n in range(20):
        assert (await nodes[0].row(f"freed{n}")).turn == 2
        assert (await nodes[0].types(f"late{n}")).count("run_failed") == 1


async def test_nodes_that_signal_each_others_runs_crosswise_get_through(nodes: list[Node]):
    a, b = nodes[:2]
    await a.start("run-a")
    await b.start("run-b")
    for turn in range(30):
        results = await asyncio.gather(
            a.commit(a.put("run-b", f"a{turn}"), a.put("run-a", f"a{turn}")),
            b.commit(b.put("run-a", f"b{turn}"), b.put("run-b", f"b{turn}")),
        )
        assert {result.reason for some in results for result in some} == {"stored"}
    assert (await a.row("run-a")).mailbox_seq == 60


async def test_a_transaction_that_must_be_repeated_is_repeated(nodes: list[Node], monkeypatch: pytest.MonkeyPatch):
    before, passed = counters["store.repeated"], 0

    def conflict() -> None:
        nonlocal passed
        passed += 1
        if passed < 4:
            error = asyncpg.SerializationError("made up")
            raise error

    failpoints.armed["commit.before_commit"] = conflict
    assert (await nodes[0].do(nodes[0].new("r"))).reason == "created"
    assert counters["store.repeated"] == before + 3
    assert (await nodes[0].row("r")).seq == 1


@pytest.mark.usefixtures("may_block_the_loop")
async def test_a_node_that_freezes_in_a_transaction_lets_go_of_the_rows_of_others(cleared_url: str):
    # Leases are of half a second here, so what it holds is given back before.
    frozen, thaw = threading.Event(), threading.Event()
    told: list[BaseException] = []

    async def freeze() -> None:
        store = await opened(cleared_url, Clock(), lease_ms=600)
        node = await Node(store, "frozen", SetClock()).enrol()
        node.lease_ms = 600
        await node.commit(node.new("r"))

        def hold() -> None:
            if threading.current_thread() is thread:
                frozen.set()
                thaw.wait(30)

        failpoints.armed["commit.before_commit"] = hold
        try:
            await node.commit(node.put("r", "frozen"))
        except (NotApplied, OutcomeUnknown) as error:
            told.append(error)
        state = await store.batch_state("frozen")
        assert state is not None
        assert state.number == 1
        await store.close()

    thread = threading.Thread(target=lambda: asyncio.run(freeze()))
    thread.start()
    await asyncio.to_thread(frozen.wait, 30)
    store = await opened(cleared_url, Clock())
    node = await Node(store, "other", SetClock()).enrol()
    assert (await node.do(node.put("r", "other"))).reason == "stored"
    thaw.set()
    await asyncio.to_thread(thread.join, 30)
    assert len(told) == 1
    assert (await node.row("r")).mailbox_seq == 1
    await store.close()


def through(proxy: Proxy, url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.port}/", f":{proxy.port}/")


@pytest.mark.parametrize("is_applied", [True, False])
async def test_a_commit_whose_answer_was_lost_is_found_out(cleared_url: str, clock: SetClock, is_applied: bool):
    parts = urlsplit(cleared_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy:
        store = await opened(through(proxy, cleared_url), clock)
        node = await Node(store, "node", clock).enrol()
        await node.commit(node.new("first"))
        batch = node.batch(node.new("second"))
        if is_applied:
            proxy.cut_answer(b"COMMIT\0")
        else:
            proxy.cut_before("up", b"COMMIT\0")
        with pytest.raises(OutcomeUnknown):
            await store.commit(batch)
        # promise 1, promise 2: what became of it is in the node's row.
        state = await store.batch_state("node")
        assert state == (BatchState(True, 2, batch.batch_id) if is_applied else BatchState(True, 1, "node-0"))
        assert (await store.find_run("second") is not None) is is_applied
        await store.close()


async def test_a_connection_that_is_cut_before_the_commit_means_that_nothing_was_done(cleared_url: str, clock: SetClock):
    parts = urlsplit(cleared_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy:
        store = await opened(through(proxy, cleared_url), clock)
        node = await Node(store, "node", clock).enrol()
        proxy.cut_before("up", b"INSERT INTO runs")
        with pytest.raises(NotApplied):
            await node.commit(node.new("r"))
        assert (await node.do(node.new("r"))).reason == "created"
        await store.close()


async def test_a_batch_that_is_not_applied_yet_is_waited_for_when_its_outcome_is_asked(nodes: list[Node], other: Any, spy: Any):
    async with other.transaction():
        await other.execute("UPDATE nodes SET batch = 1, batch_id = 'lost' WHERE node_id = 'node-0'")
        asking = asyncio.create_task(nodes[0].store.batch_state("node-0"))
        await waits_for(other, spy)
    assert await asking == BatchState(True, 1, "lost")


async def test_a_value_that_the_database_refuses_is_not_taken_for_a_passing_error(nodes: list[Node]):
    batch = nodes[0].batch(nodes[0].new("r", created='"\0"'))
    with pytest.raises(Exception, match="refuses a value"):
        await nodes[0].store.commit(batch)
    assert isinstance(batch, Batch)
    assert (await nodes[0].do(nodes[0].new("r"))).reason == "created"


async def test_who_passes_over_what_somebody_has_locked_says_so(nodes: list[Node], other: Any):
    if not nodes[0].store.has.skip_locked:
        return  # it waits, and takes it
    await nodes[0].commit(nodes[0].new("r"), nodes[0].new("s"))
    async with other.transaction():
        await other.execute("SELECT 1 FROM runs WHERE run_id = 'r' FOR UPDATE")
        claimed = await nodes[1].do(nodes[1].claim())
        assert [row.run_id for row in claimed.rows] == ["s"]
        assert claimed.passed_over
        nothing = await nodes[1].do(nodes[1].claim())
        assert nothing == Claimed([], more=False, passed_over=True)
        elsewhere = await nodes[2].do(nodes[2].claim(("another", "")))
        assert elsewhere == Claimed([], more=False, passed_over=False)
    claimed = await nodes[1].do(nodes[1].claim())
    assert ([row.run_id for row in claimed.rows], claimed.passed_over) == (["r"], False)
