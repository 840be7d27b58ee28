"""Who decides on the end of a run that has something to undo, and what its owner may still record."""

import pytest

from stepwell.progress import NewEvent, Progress, Recorded, Refused
from stepwell.store.base import CANCELLED, FAILED, PENDING, RUNNING, Cancelled, Pause, Retry, Stored, Update
from tests.store.acting import Node, SetClock, another


async def _undoable(node: Node, **more: object) -> None:
    """Start a run that has completed a step with a compensation."""
    await node.start("run", **more)
    assert await node.do(node.progress("run", node.event(), undo=1)) == Recorded(3, 0, True)


def _undoing(node: Node, *events: NewEvent) -> Progress:
    return node.progress("run", *events, undoing=node.event("", "compensation_started"))


async def test_a_cancel_asks_the_owner_and_a_second_changes_nothing(node: Node):
    # promise 9
    await _undoable(node)
    assert await node.do(node.cancel("run")) == Cancelled("asked", "node")
    before = await node.row("run")
    assert await node.do(node.cancel("run")) == Cancelled("undoing", "node")
    assert await node.row("run") == before
    assert (before.status, before.owner, before.mailbox_seq, before.waiting_for) == (RUNNING, "node", 1, None)
    (message,) = (await node.store.messages(["run"]))["run"]
    assert (message.kind, message.payload) == ("cancel", '{"reason":"no","children":[]}')
    assert await node.do(node.put("run")) == Stored("over", 1)


async def test_the_owner_is_told_with_its_next_commit_and_can_complete_the_run_no_more(node: Node):
    # promise 9
    await _undoable(node)
    await node.do(node.cancel("run"))
    assert await node.do(node.progress("run", node.event("b"))) == Recorded(4, 1, True, "end")
    assert await node.do(node.progress("run", node.event("c"), final=node.final())) == Recorded(5, 1, False, "end")
    assert await node.do(node.progress("run", final=node.final(FAILED, "run_failed"))) == Recorded(5, 1, False, "end")
    assert await node.do(_undoing(node)) == Recorded(5, 1, False, "end")
    assert (await node.row("run")).status == RUNNING
    cancelled = node.final(CANCELLED, "run_cancelled")
    await node.do(node.progress("run", consumed=[(1, "cancel")], consumed_to=1, final=cancelled))
    assert (await node.row("run")).status == CANCELLED
    assert (await node.types("run"))[2:] == ["step_completed"] * 3 + ["run_cancelled"]


async def test_a_run_that_has_begun_to_be_undone_is_cancelled_by_nobody_and_fails(node: Node):
    await _undoable(node, timeout_ms=10_000)
    assert await node.do(_undoing(node)) == Recorded(4, 0, True, "end")
    assert (await node.row("run")).deadline is None
    assert await node.do(node.cancel("run")) == Cancelled("undoing", "node")
    assert await node.do(node.progress("run", final=node.final())) == Recorded(4, 0, False, "end")
    await node.do(node.progress("run", final=node.final(FAILED, "run_failed")))
    assert (await node.row("run")).status == FAILED
    assert await node.do(Retry(run_id="run", seq=5, payload="{}", at_ms=0)) == Stored("compensated", 5)


async def test_a_run_that_nobody_owns_is_due_when_it_is_cancelled_and_a_paused_one_runs(node: Node, clock: SetClock):
    # promise 9
    await _undoable(node)
    await node.do(node.suspend("run"))
    await node.do(Pause(run_id="run", reason="asked", at_ms=clock.now_ms()))
    assert await node.claimed() == []
    assert await node.do(node.cancel("run")) == Cancelled("asked", None)
    assert (await node.row("run")).status == RUNNING
    other = await another(node)
    assert await other.claimed() == ["run"]


async def test_a_cancel_takes_back_a_pause_that_the_owner_has_not_done(node: Node, clock: SetClock):
    await _undoable(node)
    await node.do(Pause(run_id="run", reason="asked", at_ms=clock.now_ms()))
    await node.do(node.cancel("run"))
    await node.do(node.progress("run", release=True))
    assert (await node.row("run")).status == RUNNING


async def test_a_run_can_be_paused_while_it_is_undone_and_its_end_stands(node: Node, clock: SetClock):
    await _undoable(node)
    await node.do(_undoing(node))
    await node.do(Pause(run_id="run", reason="asked", at_ms=clock.now_ms()))
    assert await node.do(node.progress("run", node.event("b"))) == Recorded(5, 1, True, "pause")
    await node.do(node.progress("run", release=True))
    assert (await node.types("run"))[-1] == "run_paused"
    await node.do(node.resume("run"))
    assert await node.claimed() == ["run"]
    await node.do(node.progress("run", turn=3, final=node.final()))
    assert (await node.row("run")).status == RUNNING


@pytest.mark.parametrize("is_owned", [True, False])
async def test_a_deadline_that_passes_unnoticed_is_a_message_and_takes_the_run_away(node: Node, clock: SetClock, is_owned: bool):
    # promise 10
    await _undoable(node, timeout_ms=1_000)
    if not is_owned:
        await node.do(node.suspend("run"))
    clock.advance(7_000)
    assert await node.do(node.expire()) == ["run"]
    assert await node.do(node.expire()) == []
    row = await node.row("run")
    assert (row.status, row.owner, row.deadline, row.wake_at) == (RUNNING, None, None, clock.now_ms())
    assert await node.do(node.progress("run", node.event())) == Refused("guard", 3)
    assert await node.do(node.cancel("run")) == Cancelled("undoing", None)
    assert await node.claimed() == ["run"]
    assert (await node.row("run")).deadline is None
    (message,) = (await node.store.messages(["run"]))["run"]
    assert message.kind == "fail"


async def test_what_is_recorded_beyond_the_limit_counts_only_of_a_run_that_is_undone(node: Node):
    # promise 10
    await _undoable(node, max_events=4)
    events = [node.event()] * 3
    assert await node.do(node.progress("run", *events, beyond=3)) == Refused("limit", 3)
    assert await node.do(_undoing(node, node.event())) == Refused("limit", 3)
    assert await node.do(_undoing(node)) == Recorded(4, 0, True, "end")
    assert await node.do(node.progress("run", *events, beyond=2)) == Refused("limit", 4)
    assert await node.do(node.progress("run", *events, beyond=3)) == Recorded(7, 0, True, "end")
    assert (await node.do(node.emit("run"))).reason == "limit"


async def test_children_that_are_waited_for_are_named_and_cancelled_in_the_same_commit(node: Node):
    # promise 9
    await _undoable(node)
    for child in ("waited", "detached"):
        await node.start(child, parent_run_id="run")
    await node.do(node.progress("waited", node.event(), undo=1))
    await node.do(node.progress("run", node.event("", "child_started"), awaits=["waited"]))
    await node.do(node.cancel("run"))
    assert [(await node.row(child)).wanted for child in ("run", "waited", "detached")] == [1, 1, 0]
    (message,) = (await node.store.messages(["run"]))["run"]
    assert message.payload == '{"reason":"no","children":["waited"]}'
    assert (await node.do(node.new("late", parent_run_id="run"))).reason == "parent_over"


async def test_new_limits_count_from_where_the_old_ones_did_and_the_owner_is_told(node: Node, clock: SetClock):
    # promise 10
    def update(timeout_ms: int) -> Update:
        return Update(
            run_id="run", tags=None, priority=None, max_events=None, timeout_ms=timeout_ms, at_ms=clock.now_ms()
        )  # fmt: skip

    start = clock.now_ms()
    await node.start("run")
    clock.advance(100)
    for timeout_ms in (5_000, 3_000):
        await node.do(update(timeout_ms))
        assert ((await node.row("run")).deadline, (await node.row("run")).timeout_ms) == (start + timeout_ms, timeout_ms)
    messages = (await node.store.messages(["run"]))["run"]
    assert [message.kind for message in messages] == ["limits", "limits"]
    assert messages[1].payload == f'{{"maxEvents":100,"deadline":{start + 3_000}}}'
    await node.do(node.new("run-2"))
    await node.do(Update(run_id="run-2", tags=None, priority=7, max_events=None, timeout_ms=50, at_ms=clock.now_ms()))
    row = await node.row("run-2")
    assert (row.status, row.deadline, row.timeout_ms, row.priority) == (PENDING, None, 50, 7)
    assert row.rank == clock.now_ms() - 7 * 60_000
