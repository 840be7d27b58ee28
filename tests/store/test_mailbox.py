"""What others send to a run: messages, events, cancels, resumes."""

from stepwell.progress import Recorded, Refused
from stepwell.settings import Settings
from stepwell.store.base import CANCELLED, PAUSED, PENDING, RUNNING, Cancelled, Stored
from tests.store.acting import Node, SetClock, another


async def test_messages_are_kept_in_the_order_in_which_they_were_stored(node: Node):
    await node.do(node.new("run"))
    assert await node.commit(node.put("run", "a"), node.put("run", "b")) == [Stored("stored", 1), Stored("stored", 2)]
    assert await node.do(node.put("run", "c")) == Stored("stored", 3)
    messages = (await node.store.messages(["run"]))["run"]
    assert [(message.mailbox_seq, message.message_id) for message in messages] == [(1, "a"), (2, "b"), (3, "c")]
    assert messages[0][1:] == ("signal", "go", "a", '"yes"', node.clock.now_ms())


async def test_a_message_is_stored_once_whoever_repeats_it(node: Node):
    await node.start("run")
    other = await another(node)
    assert await node.commit(node.put("run"), node.put("run")) == [Stored("stored", 1, "node"), Stored("duplicate", 1, "node")]
    assert await other.do(other.put("run", name="another name")) == Stored("duplicate", 1, "node")
    assert (await node.row("run")).mailbox_seq == 1


async def test_a_repeated_message_is_a_duplicate_even_after_the_run_is_over(node: Node):
    await node.start("run")
    await node.do(node.put("run"))
    await node.do(node.cancel("run"))
    assert (await node.do(node.put("run"))).reason == "duplicate"
    assert (await node.do(node.put("run", "new"))).reason == "over"


async def test_a_message_for_no_run_is_told(node: Node):
    assert await node.do(node.put("none")) == Stored("missing")


async def test_a_mailbox_has_a_bound_on_what_waits_and_not_on_what_was_read(node: Node, store_settings: Settings):
    bound = store_settings.messages_max
    await node.start("run")
    results = await node.commit(*[node.put("run", f"m{number}") for number in range(bound + 1)])
    assert [result.reason for result in results] == ["stored"] * bound + ["full"]  # type: ignore[union-attr]
    await node.do(node.progress("run", node.event(), consumed=[(1, "m0")], consumed_to=1))
    assert (await node.do(node.put("run", "more"))).reason == "stored"


async def test_a_message_makes_a_waiting_run_due_now_and_not_later(node: Node, clock: SetClock):
    await node.start("run")
    await node.do(node.suspend("run", until_ms=clock.now_ms() + 1_000))
    clock.advance(10)
    await node.do(node.put("run", "a"))
    due_ms = clock.now_ms()
    clock.advance(10)
    await node.do(node.put("run", "b"))
    assert (await node.row("run")).wake_at == due_ms
    assert await node.claimed() == ["run"]


async def test_a_message_starts_no_delayed_run_and_wakes_no_paused_one(node: Node, clock: SetClock):
    due_ms = clock.now_ms() + 1_000
    await node.do(node.new("delayed", due_ms=due_ms))
    await node.do(node.put("delayed"))
    row = await node.row("delayed")
    assert (row.status, row.wake_at) == (PENDING, due_ms)
    await _lose(node, "paused", pause_at=1)
    await node.do(node.put("paused"))
    row = await node.row("paused")
    assert (row.status, row.wake_at, row.mailbox_seq) == (PAUSED, None, 1)


async def test_mail_for_owned_runs_is_told_to_their_owner_alone(node: Node):
    await node.start("run")
    other = await another(node)
    assert (await node.store.poll("node", [])).mailed == []
    await other.do(other.put("run"))
    assert (await node.store.poll("node", [])).mailed == ["run"]
    assert (await node.store.poll(other.node_id, [])).mailed == []
    await node.do(node.progress("run", consumed=[(1, "m1")], consumed_to=1))
    assert (await node.store.poll("node", [])).mailed == []


async def test_an_event_from_outside_is_appended_once_with_its_id(node: Node):
    await node.start("run")
    results = await node.commit(node.emit("run", "x"), node.emit("run", "x"), node.emit("run", "y"))
    assert results == [Stored("stored", 3, "node"), Stored("duplicate", 3, "node"), Stored("stored", 4, "node")]
    assert await node.do(node.emit("run", "x")) == Stored("duplicate", 3, "node")
    event = (await node.history("run"))[2]
    assert (event.type, event.step_id, event.name, event.payload) == ("seen", "event:x", "", "1")


async def test_a_step_whose_name_looks_like_an_events_id_hides_no_event(node: Node):
    await node.start("run")
    await node.do(node.progress("run", node.event("event:x")))
    assert await node.do(node.emit("run", "x")) == Stored("stored", 4, "node")
    assert await node.do(node.emit("run", "x")) == Stored("duplicate", 4, "node")


async def test_events_from_outside_leave_room_for_the_final_one(node: Node):
    await node.start("run", max_events=4)
    assert await node.do(node.emit("run", "a")) == Stored("stored", 3, "node")
    assert await node.do(node.emit("run", "b")) == Stored("limit", 3, "node")
    assert await node.do(node.emit("run", "a")) == Stored("duplicate", 3, "node")


async def test_events_for_a_run_that_has_not_started_leave_room_for_its_start(node: Node):
    await node.do(node.new("run", max_events=3))
    assert await node.do(node.emit("run")) == Stored("limit", 1)
    await node.do(node.new("roomy", max_events=4))
    assert await node.do(node.emit("roomy")) == Stored("stored", 2)
    assert sorted(await node.claimed()) == ["roomy", "run"]
    assert (await node.do(node.progress("run", final=node.final()))).seq == 3
    assert (await node.do(node.progress("roomy", final=node.final()))).seq == 4


async def test_no_event_reaches_a_run_that_is_over_or_missing(node: Node):
    assert await node.do(node.emit("none")) == Stored("missing")
    await node.start("run")
    await node.do(node.cancel("run"))
    assert await node.do(node.emit("run")) == Stored("over", 3)


async def test_a_cancel_ends_the_run_whoever_owns_it_and_fences_the_owner(node: Node, clock: SetClock):
    await node.start("run", timeout_ms=50)
    other = await another(node)
    assert await other.do(other.cancel("run")) == Cancelled("cancelled", "node")
    stored = await node.store.find_run("run")
    assert stored is not None
    row = stored.row
    assert (row.status, row.owner, row.turn, row.deadline) == (CANCELLED, None, 2, None)
    assert row.completed_at == clock.now_ms()
    assert stored.final is not None
    assert (stored.final.type, stored.final.payload) == ("run_cancelled", '{"reason":"no"}')
    assert await node.do(node.progress("run", node.event(), final=node.final())) == Refused("guard", 3)


async def test_a_cancel_of_a_run_that_nobody_owns(node: Node):
    await node.do(node.new("new"))
    await node.start("sleeping")
    await node.do(node.suspend("sleeping", until_ms=node.clock.now_ms() + 9))
    await _lose(node, "paused", pause_at=1)
    survivor = await another(node)
    results = await survivor.commit(*[survivor.cancel(run_id) for run_id in ("new", "sleeping", "paused")])
    assert results == [Cancelled("cancelled")] * 3
    node.clock.advance(1_000)
    assert await survivor.claimed() == []


async def test_a_second_cancel_or_one_after_the_end_changes_nothing(node: Node):
    await node.start("run")
    assert await node.commit(node.cancel("run"), node.cancel("run")) == [Cancelled("cancelled", "node"), Cancelled("over")]
    assert await node.do(node.cancel("none")) == Cancelled("missing")
    assert await node.types("run") == ["run_created", "run_started", "run_cancelled"]


async def test_completion_and_cancel_in_one_batch_leave_one_final_event_and_the_answer_agrees(node: Node):
    """Trap 14."""
    await node.start("run")
    recorded, cancelled = await node.commit(node.progress("run", final=node.final()), node.cancel("run"))
    assert recorded == Recorded(3, 0, quiet=True)
    assert cancelled == Cancelled("over")
    assert await node.types("run") == ["run_created", "run_started", "run_completed"]


async def test_a_paused_run_goes_on_when_it_is_resumed(node: Node, clock: SetClock):
    survivor = await _lose(node, "run", pause_at=1)
    assert await survivor.claimed() == []
    assert await survivor.do(survivor.resume("run")) == Stored("stored", 4)
    row = await survivor.row("run")
    assert (row.status, row.wake_at, row.streak, row.interruptions, row.waiting_for) == (RUNNING, clock.now_ms(), 0, 1, None)
    assert (await survivor.types("run"))[2:] == ["run_paused", "run_resumed"]
    assert await survivor.claimed() == ["run"]


async def test_only_a_paused_run_is_resumed(node: Node):
    await node.start("run")
    assert await node.do(node.resume("run")) == Stored("not_paused", 2, "node")
    assert await node.do(node.resume("none")) == Stored("missing")


async def _lose(node: Node, run_id: str, *, pause_at: int) -> Node:
    """Let a run lose its worker; return the node that freed it."""
    victim = await another(node)
    await victim.start(run_id)
    await node.commit(node.bury(victim.node_id), node.free(pause_at=pause_at))
    return node
