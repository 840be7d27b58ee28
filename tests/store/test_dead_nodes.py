"""What becomes of nodes that died, of their runs, and of runs whose time is over."""

import json

import pytest

from stepwell.progress import Refused, Waiting
from stepwell.store.base import FAILED, PAUSED, RUNNING, Freed
from tests.store.acting import LEASE_MS, Node, SetClock, another


async def test_a_node_is_dead_once_its_lease_is_over_and_not_before(node: Node, clock: SetClock):
    victim = await another(node)
    await victim.commit()
    await node.commit()  # from here on the store keeps this node's lease alive, not the other's
    clock.advance(LEASE_MS - 1)
    assert await node.do(node.bury()) == 0
    clock.advance(1)
    assert (await node.store.poll("node", [])).orphans
    assert await node.do(node.bury()) == 1
    state = await node.store.batch_state(victim.node_id)
    assert state is not None
    assert not state.alive


@pytest.mark.parametrize("unopened", ["sqlite", "memory"], indirect=True)  # on PostgreSQL leases are the server's time
async def test_a_lease_of_another_boot_is_over(node: Node):
    victim = await another(node)
    await victim.commit()
    bury = node.bury()
    bury.boot_id = "another boot"
    node.lease_ms = None
    assert await node.do(bury) == 1


async def test_a_node_without_a_lease_is_buried_only_by_name(node: Node, clock: SetClock):
    idle = await another(node)
    idle.lease_ms = None
    await idle.commit()
    clock.advance(10 * LEASE_MS)
    assert await node.do(node.bury()) == 0
    assert await node.do(node.bury(idle.node_id)) == 1


async def test_runs_of_a_dead_node_are_freed_and_due_at_once(node: Node, clock: SetClock):
    victim = await another(node)
    await victim.start("executing")
    await victim.start("waiting")
    await victim.do(victim.progress("waiting", waiting=Waiting('{"kind":"sleep"}', None)))
    await node.start("mine")
    clock.advance(10)
    assert await node.do(node.free()) == Freed([], [], False)
    await node.do(node.bury(victim.node_id))
    assert (await node.store.poll("node", [])).orphans
    freed = await node.do(node.free())
    assert (sorted(freed.run_ids), freed.paused, freed.more) == (["executing", "waiting"], [], False)
    row = await node.row("executing")
    assert (row.owner, row.turn, row.wake_at, row.interruptions, row.streak) == (None, 2, clock.now_ms(), 1, 1)
    row = await node.row("waiting")
    assert (row.owner, row.turn, row.wake_at, row.interruptions, row.streak) == (None, 2, clock.now_ms(), 0, 0)
    assert (await node.row("mine")).owner == "node"
    assert not (await node.store.poll("node", [])).orphans
    assert sorted(await node.claimed()) == ["executing", "waiting"]


async def test_a_dead_nodes_row_goes_with_its_last_run(node: Node):
    victim = await another(node)
    for n in range(3):
        await victim.start(f"run-{n}")
    await node.do(node.bury(victim.node_id))
    freed = await node.do(node.free(limit=2))
    assert (len(freed.run_ids), freed.more) == (2, True)
    assert await node.store.batch_state(victim.node_id) is not None
    freed = await node.do(node.free(limit=2))
    assert (len(freed.run_ids), freed.more) == (1, False)
    assert await node.store.batch_state(victim.node_id) is None


async def test_a_dead_node_that_owned_nothing_is_forgotten_too(node: Node):
    victim = await another(node)
    await node.do(node.bury(victim.node_id))
    assert (await node.store.poll("node", [])).orphans
    await node.do(node.free())
    assert not (await node.store.poll("node", [])).orphans
    assert await node.store.batch_state(victim.node_id) is None


async def test_runs_whose_owner_has_no_row_are_found(node: Node):
    """Trap 9."""
    victim = await another(node)
    await victim.start("run")
    await node.store.retire(victim.node_id)
    assert (await node.store.poll("node", [])).orphans
    assert await node.do(node.free()) == Freed(["run"], [], False)


async def test_runs_that_somebody_can_take_are_freed_first(node: Node):
    """Trap 10."""
    victim = await another(node)
    await victim.commit(*[victim.new(f"unknown-{n}", workflow="aaa", claim=True) for n in range(50)])
    await victim.commit(*[victim.new(f"known-{n}", claim=True) for n in range(5)])
    await node.do(node.bury(victim.node_id))
    freed = await node.do(node.free(limit=7))
    assert {f"known-{n}" for n in range(5)} < set(freed.run_ids)
    assert (len(freed.run_ids), freed.more) == (7, True)


async def test_a_fenced_owner_can_record_nothing_more_of_a_freed_run(node: Node):
    victim = await another(node)
    await victim.start("run")
    await node.commit(node.bury(victim.node_id), node.free(), node.claim())
    reborn = await another(node)
    assert await reborn.do(reborn.progress("run", reborn.event())) == Refused("guard", 2)
    assert (await node.row("run")).owner == "node"


async def test_a_run_that_loses_its_worker_again_and_again_is_paused_with_the_last_step_named(node: Node):
    """Trap 12."""
    await node.do(node.new("run"))
    for losses in range(1, 4):
        victim = await another(node)
        await victim.claimed(alone_max=1)
        if losses == 1:
            await victim.do(victim.progress("run", victim.event("good"), victim.event("deadly", "step_started")))
        await node.do(node.bury(victim.node_id))
        freed = await node.do(node.free(pause_at=3))
        assert (freed.run_ids, freed.paused) == (["run"], ["run"] if losses == 3 else [])
    row = await node.row("run")
    assert (row.status, row.owner, row.wake_at, row.interruptions, row.streak) == (PAUSED, None, None, 3, 3)
    reason = json.loads((await node.history("run"))[-1].payload)["reason"]
    assert "3 times" in reason
    assert "deadly" in reason
    assert json.loads(row.waiting_for or "") == {"kind": "paused", "name": reason}
    assert await node.claimed() == []


async def test_a_recorded_outcome_ends_the_streak(node: Node):
    victim = await another(node)
    await victim.start("run")
    await node.commit(node.bury(victim.node_id), node.free(), node.claim())
    assert (await node.row("run")).streak == 1
    await node.do(node.progress("run", node.event("a", "step_started"), turn=3))
    assert (await node.row("run")).streak == 1
    await node.do(node.progress("run", node.event("a"), turn=3, has_outcome=True))
    row = await node.row("run")
    assert (row.streak, row.interruptions) == (0, 1)


async def test_a_run_that_was_claimed_and_wrote_nothing_counts_as_executing(node: Node, clock: SetClock):
    await node.start("run")
    await node.do(node.suspend("run", until_ms=clock.now_ms()))
    victim = await another(node)
    assert await victim.claimed() == ["run"]
    await node.commit(node.bury(victim.node_id), node.free())
    assert (await node.row("run")).interruptions == 1


async def test_a_full_history_is_paused_and_resumed_without_events(node: Node):
    victim = await another(node)
    await victim.start("run", max_events=4)
    await victim.do(victim.progress("run", victim.event()))
    await node.commit(node.bury(victim.node_id), node.free(pause_at=1))
    assert (await node.row("run")).status == PAUSED
    await node.do(node.resume("run"))
    assert await node.claimed() == ["run"]
    await node.do(node.progress("run", final=node.final(), turn=3))
    assert (await node.types("run"))[2:] == ["step_completed", "run_completed"]


async def test_an_execution_that_takes_too_long_fails_when_nobody_owns_it(node: Node, clock: SetClock):
    await node.start("run", timeout_ms=1_000)
    await node.do(node.suspend("run"))
    clock.advance(999)
    assert await node.do(node.expire()) == []
    clock.advance(1)
    assert await node.do(node.expire()) == ["run"]
    stored = await node.store.find_run("run")
    assert stored is not None
    assert (stored.row.status, stored.row.turn, stored.row.deadline, stored.row.waiting_for) == (FAILED, 3, None, None)
    assert stored.final is not None
    error = json.loads(stored.final.payload)["error"]
    assert error["type"] == "stepwell.errors.ExecutionTimeoutError"
    assert error["message"] == "execution timeout of 1000 ms is over"
    assert error["kinds"][1:] == [
        "stepwell.errors.CircuitBreakerError", "stepwell.errors.StepwellError", "Exception", "BaseException",
    ]  # fmt: skip
    assert (error["step"], error["attempts"], error["traceback"]) == (None, 1, None)
    assert await node.do(node.expire()) == []


async def test_an_owner_is_given_time_to_fail_its_run_itself(node: Node, clock: SetClock):
    await node.start("run", timeout_ms=1_000)
    clock.advance(1_999)
    assert await node.do(node.expire(owned_after_ms=1_000)) == []
    clock.advance(1)
    assert await node.do(node.expire(owned_after_ms=1_000)) == ["run"]
    assert await node.do(node.progress("run", final=node.final())) == Refused("guard", 3)


async def test_the_deadline_holds_while_a_run_is_paused_and_is_set_at_its_first_start(node: Node, clock: SetClock):
    await node.do(node.new("run", timeout_ms=1_000))
    clock.advance(5_000)
    victim = await another(node)
    await victim.claimed()
    await node.commit(node.bury(victim.node_id), node.free(pause_at=1))
    clock.advance(500)
    await node.commit(node.resume("run"), node.claim())
    row = await node.row("run")
    assert (row.status, row.deadline) == (RUNNING, clock.now_ms() + 500)
    await node.do(node.suspend("run", turn=row.turn))
    clock.advance(500)
    assert await node.do(node.expire(limit=1)) == ["run"]


async def test_at_most_so_many_expire_at_once(node: Node, clock: SetClock):
    for n in range(3):
        await node.start(f"unowned-{n}", timeout_ms=10 + n)
        await node.do(node.suspend(f"unowned-{n}"))
        await node.start(f"owned-{n}", timeout_ms=10 + n)
    clock.advance(100_000)
    assert await node.do(node.expire(limit=2)) == ["unowned-0", "unowned-1"]
    assert await node.do(node.expire(limit=2)) == ["unowned-2", "owned-0"]
    assert await node.do(node.expire(limit=9)) == ["owned-1", "owned-2"]


async def test_a_node_is_told_that_it_is_dead(node: Node):
    other = await another(node)
    await other.do(other.bury("node"))
    assert not (await node.store.poll("node", [])).alive
    assert not (await node.store.poll("nobody", [])).alive


async def test_what_a_node_owns(node: Node):
    await node.commit(node.new("b"), node.new("a"))
    assert await node.store.owned("node") == []
    await node.do(node.claim())
    assert sorted(await node.store.owned("node")) == [("a", 1), ("b", 1)]
    await node.do(node.progress("a", release=True))
    assert await node.store.owned("node") == [("b", 1)]
