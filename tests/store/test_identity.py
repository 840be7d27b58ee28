"""Nodes, and the first statement of every batch."""

import asyncio

import pytest

from stepwell.errors import FencedError, UnavailableError
from stepwell.progress import Recorded, Refused
from stepwell.store.base import BatchState, DataRefused, Store, Stored, Triggered
from tests.clients import PATIENCE_S
from tests.store.acting import LEASE_MS, Node, SetClock, another


async def test_a_new_node_is_alive_at_batch_0_and_each_commit_raises_it(node: Node):
    assert await node.store.batch_state("node") == BatchState(True, 0, "")
    await node.commit()
    await node.commit()
    assert await node.store.batch_state("node") == BatchState(True, 2, "node-1")


async def test_a_batch_with_another_number_is_fenced_and_nothing_of_it_is_done(node: Node):
    await node.commit()
    node.number = 0
    with pytest.raises(FencedError):
        await node.commit(node.new("run"))
    assert await node.store.find_run("run") is None


async def test_a_buried_node_is_fenced_for_ever(node: Node):
    other = await another(node)
    assert await other.do(other.bury("node")) == 1
    assert await other.do(other.bury("node")) == 0
    for _ in range(2):
        with pytest.raises(FencedError):
            await node.commit(node.new("run"))
    state = await node.store.batch_state("node")
    assert state is not None
    assert not state.alive


async def test_an_unknown_node_is_fenced_and_has_no_state(store: Store, clock: SetClock):
    with pytest.raises(FencedError):
        await Node(store, "nobody", clock).commit()
    assert await store.batch_state("nobody") is None


async def test_a_retired_node_is_gone(node: Node):
    await node.store.retire("node")
    assert await node.store.batch_state("node") is None
    assert node.store.lease_until_boot_ms == 0


async def test_a_commit_renews_the_lease_and_one_without_gives_it_up(node: Node, clock: SetClock):
    assert node.store.lease_until_boot_ms == 0
    await node.commit()
    assert node.store.lease_until_boot_ms == clock.boot_ms() + LEASE_MS
    clock.advance(1_000)
    await node.commit()
    assert node.store.lease_until_boot_ms == clock.boot_ms() + LEASE_MS
    node.lease_ms = None
    await node.commit()
    assert node.store.lease_until_boot_ms == 0


async def test_what_a_node_says_of_itself_tells_who_knows_a_workflow(node: Node):
    assert not await node.store.knows_worker("orders", "1")
    await node.store.describe("node", '{"pid":1,"host":"here","workflows":[["orders","1"],["other",""]]}')
    assert await node.store.knows_worker("orders", "1")
    assert await node.store.knows_worker("other", "")
    assert not await node.store.knows_worker("orders", "2")
    other = await another(node)
    await other.commit(other.bury("node"))
    assert not await node.store.knows_worker("orders", "1")


async def test_an_info_that_cannot_be_read_knows_nothing(node: Node):
    await node.store.describe("node", "not json")
    assert not await node.store.knows_worker("orders", "1")


async def test_of_200_operations_one_with_a_taken_key_and_one_on_a_run_that_is_over_198_succeed_in_one_commit(node: Node):
    """Trap 36."""
    await node.commit(node.new("taken"), *[node.new(f"old-{n}", claim=True) for n in range(100)])
    await node.do(node.cancel("old-50"))
    before = node.number
    results = await node.commit(
        *[node.new(f"new-{n}") for n in range(99)],
        node.new("taken", input_hash="another"),
        *[node.progress(f"old-{n}", node.event()) for n in range(100)],
    )
    assert node.number == before + 1
    good = [each for each in results if isinstance(each, Recorded) or (isinstance(each, Triggered) and each.reason == "created")]
    assert len(good) == 198
    assert isinstance(results[99], Triggered)
    assert results[99].reason == "id_taken"
    assert results[150] == Refused("guard", 3)
    assert len(await node.history("old-51")) == 3


async def test_results_stand_in_the_order_of_the_operations_whatever_the_order_of_execution(node: Node):
    await node.start("mine")
    results = await node.commit(
        node.claim(), node.put("fresh"), node.progress("mine", node.event()), node.new("fresh"), node.bury("ghost")
    )
    claimed, stored, recorded, triggered, buried = results
    assert [row.run_id for row in claimed.rows] == ["fresh"]  # type: ignore[union-attr]
    assert stored == Stored("stored", 1, None)
    assert isinstance(recorded, Recorded)
    assert isinstance(triggered, Triggered)
    assert buried == 0


@pytest.mark.parametrize("bad", ["lone surrogate \ud800", 2**70, None])
async def test_a_value_that_cannot_be_stored_refuses_the_batch_as_a_whole(node: Node, bad: object):
    await node.start("run")
    spoilt = node.event()._replace(payload=bad) if not isinstance(bad, int) else node.event()._replace(at_ms=bad)  # type: ignore[arg-type]
    with pytest.raises(DataRefused):
        await node.commit(node.new("other"), node.progress("run", node.event(), spoilt))
    assert await node.store.find_run("other") is None
    assert await node.types("run") == ["run_created", "run_started"]
    assert await node.do(node.progress("run", node.event())) == Recorded(3, 0, True)


async def test_a_store_that_is_closed_twice_is_closed(store: Store):
    await store.close()
    await store.close()
    await store.open()


async def test_a_store_that_is_closed_answers_nobody_but_says_so(store: Store):
    await store.close()
    for _ in range(2):
        with pytest.raises(UnavailableError, match="closed"):
            async with asyncio.timeout(PATIENCE_S):
                await store.statuses(["run"])
    await store.open()
