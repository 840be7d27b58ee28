"""Taking due runs."""

import random

from stepwell.store.base import PENDING, RUNNING, Claimed
from tests.store.acting import WORKFLOW, Node, SetClock, another

A, B = ("a", ""), ("b", "")


async def test_a_new_run_is_started_by_its_claim(node: Node, clock: SetClock):
    await node.do(node.new("run", timeout_ms=300))
    clock.advance(10)
    claimed = await node.do(node.claim())
    [row] = claimed.rows
    assert row == await node.row("run")
    assert (row.status, row.owner, row.turn, row.seq) == (RUNNING, "node", 1, 2)
    assert (row.started_at, row.deadline, row.wake_at) == (clock.now_ms(), clock.now_ms() + 300, None)
    assert (await node.history("run"))[1][1:5] == ("run_started", "", "", '{"attempt": 1}')
    assert not claimed.more
    assert await node.claimed() == []


async def test_only_known_workflows_and_versions_are_claimed(node: Node):
    await node.commit(node.new("one"), node.new("two", version="2"), node.new("three", workflow="other"))
    assert await node.claimed((WORKFLOW[0], "2"), ("unknown", "")) == ["two"]
    assert await node.claimed() == ["one"]
    assert (await node.do(node.claim(("none", "")))) == Claimed([], False)


async def test_new_runs_come_by_rank_and_a_minute_of_waiting_is_worth_one_step_of_priority(node: Node, clock: SetClock):
    await node.do(node.new("old"))
    clock.advance(90_000)
    await node.commit(node.new("plus-one", priority=1), node.new("plus-two", priority=2), node.new("minus", priority=-1))
    assert await node.claimed() == ["plus-two", "old", "plus-one", "minus"]


async def test_a_run_that_is_not_due_is_left_however_urgent(node: Node, clock: SetClock):
    await node.commit(node.new("later", priority=1_000, due_ms=clock.now_ms() + 1), node.new("now"))
    assert await node.claimed() == ["now"]
    clock.advance(1)
    assert await node.claimed() == ["later"]


async def test_woken_runs_come_before_new_ones_the_earliest_first(node: Node, clock: SetClock):
    for run_id, delay_ms in (("second", 20), ("first", 10), ("asleep", 5_000)):
        await node.start(run_id)
        await node.do(node.suspend(run_id, until_ms=clock.now_ms() + delay_ms))
    await node.do(node.new("new", priority=9))
    clock.advance(100)
    assert await node.claimed() == ["first", "second", "new"]


async def test_a_claim_is_fair_between_workflows(node: Node):
    await node.commit(*[node.new(f"a{n:02}", workflow="a", version="") for n in range(50)])
    await node.commit(*[node.new(f"b{n}", workflow="b", version="") for n in range(3)])
    assert await node.claimed(A, B, limit=6) == ["a00", "b0", "a01", "b1", "a02", "b2"]
    assert await node.claimed(A, B, limit=3) == ["a03", "a04", "a05"]


async def test_a_claim_fills_its_limit_from_whoever_has_more(node: Node):
    await node.commit(*[node.new(f"a{n:03}", workflow="a", version="") for n in range(300)])
    known = [A, *[(f"idle-{n}", "") for n in range(100)]]
    claimed = await node.do(node.claim(*known, limit=250))
    assert [row.run_id for row in claimed.rows] == [f"a{n:03}" for n in range(250)]
    assert claimed.more
    assert len(await node.claimed(*known, limit=250)) == 50


async def test_a_claim_tells_whether_there_is_more(node: Node):
    await node.commit(*[node.new(f"run-{n}") for n in range(3)])
    claimed = await node.do(node.claim(limit=2))
    assert (len(claimed.rows), claimed.more) == (2, True)
    claimed = await node.do(node.claim(limit=1))
    assert (len(claimed.rows), claimed.more) == (1, False)


async def test_of_runs_that_lost_their_workers_too_often_few_are_taken_and_the_others_go_by(node: Node):
    for _ in range(3):
        victim = await another(node)
        victim.number = 0
        for run_id in ("bad-1", "bad-2", "bad-3"):
            await victim.do(victim.new(run_id))
        await victim.claimed(alone_max=9)
        await node.commit(node.bury(victim.node_id), node.free())
    await node.do(node.new("good"))
    assert (await node.row("bad-1")).streak == 3
    claimed = await node.do(node.claim(alone_from=3, alone_max=1))
    assert [row.run_id for row in claimed.rows] == ["bad-1", "good"]
    assert not claimed.more
    assert await node.claimed(alone_from=3, alone_max=0) == []
    assert await node.claimed(alone_from=4, alone_max=0) == ["bad-2", "bad-3"]


async def test_four_nodes_claim_each_run_once(node: Node):
    """Trap 13, in small."""
    await node.commit(*[node.new(f"run-{n}") for n in range(1_000)])
    nodes = [node, *[await another(node) for _ in range(3)]]
    taken: list[str] = []
    dice = random.Random(1)
    while len(taken) < 1_000:
        each = dice.choice(nodes)
        taken += await each.claimed(limit=dice.randrange(1, 60))
    assert sorted(taken) == sorted(f"run-{n}" for n in range(1_000))


async def test_a_poll_tells_what_is_due_and_when_the_next_will_be(node: Node, clock: SetClock):
    start_ms = clock.now_ms()
    poll = await node.store.poll("node", [WORKFLOW])
    assert (poll.alive, poll.due, poll.next_due_ms, poll.orphans) == (True, False, None, False)
    await node.do(node.new("later", due_ms=start_ms + 100))
    await node.start("sleeper")
    await node.do(node.suspend("sleeper", until_ms=start_ms + 50))
    assert (await node.store.poll("node", [WORKFLOW]))[1:3] == (False, start_ms + 50)
    assert (await node.store.poll("node", [("other", "")]))[1:3] == (False, None)
    clock.advance(50)
    assert (await node.store.poll("node", [WORKFLOW]))[1:3] == (True, start_ms + 100)
    assert await node.claimed() == ["sleeper"]
    assert (await node.store.poll("node", [WORKFLOW]))[1:3] == (False, start_ms + 100)


async def test_a_poll_tells_deadlines_of_owned_runs_a_lease_later(node: Node, clock: SetClock, store_settings):  # type: ignore[no-untyped-def]
    await node.start("run", timeout_ms=1_000)
    deadline = clock.now_ms() + 1_000
    assert (await node.store.poll("node", [])).next_due_ms == deadline + store_settings.lease_ms
    await node.do(node.suspend("run"))
    assert (await node.store.poll("node", [])).next_due_ms == deadline


async def test_polls_are_counted(node: Node):
    before = node.store.questions
    await node.store.poll("node", [])
    await node.store.count_by_status()
    assert node.store.questions == before + 1


async def test_a_claim_of_nothing_changes_no_run(node: Node):
    await node.do(node.new("run", workflow="other"))
    assert await node.claimed() == []
    assert (await node.row("run")).status == PENDING
