"""What the owner of a run records."""

import pytest

from stepwell.progress import Recorded, Refused, Waiting
from stepwell.store.base import COMPLETED, RUNNING
from tests.store.acting import Node, SetClock, another


async def test_events_are_numbered_in_the_commit(node: Node):
    await node.start("run")
    recorded = await node.do(node.progress("run", node.event("a"), node.event("b")))
    assert recorded == Recorded(4, 0, True)
    assert [(event.seq, event.step_id) for event in (await node.history("run"))[2:]] == [(3, "a"), (4, "b")]
    assert (await node.row("run")).seq == 4


async def test_an_event_from_outside_moves_the_numbers_and_nothing_is_lost(node: Node):
    await node.start("run")
    other = await another(node)
    assert (await other.do(other.emit("run"))).seq == 3
    assert (await node.do(node.progress("run", node.event()))).seq == 4


async def test_only_the_owner_in_its_turn_records(node: Node):
    await node.start("run")
    other = await another(node)
    assert await other.do(other.progress("run", other.event())) == Refused("guard", 2)
    assert await node.do(node.progress("run", node.event(), turn=0)) == Refused("guard", 2)
    assert await node.do(node.progress("run", node.event(), turn=2)) == Refused("guard", 2)
    assert await node.do(node.progress("none", node.event())) == Refused("guard", 0)
    assert await node.types("run") == ["run_created", "run_started"]


async def test_a_final_event_ends_the_run_and_comes_last(node: Node, clock: SetClock):
    await node.start("run", timeout_ms=9_000)
    clock.advance(10)
    assert await node.do(node.progress("run", node.event(), final=node.final())) == Recorded(4, 0, True)
    stored = await node.store.find_run("run")
    assert stored is not None
    row = stored.row
    assert (row.status, row.owner, row.turn, row.completed_at) == (COMPLETED, None, 2, clock.now_ms())
    assert (row.deadline, row.wake_at, row.waiting_for) == (None, None, None)
    assert stored.final is not None
    assert (stored.final.seq, stored.final.type, stored.final.payload) == (4, "run_completed", '{"output":2}')
    assert await node.do(node.progress("run", node.event())) == Refused("guard", 4)
    assert await node.do(node.progress("run", node.event(), turn=2)) == Refused("guard", 4)


async def test_after_a_refusal_later_progress_of_the_same_run_in_the_batch_is_refused_too(node: Node):
    await node.start("run", max_events=5)
    results = await node.commit(
        node.progress("run", *[node.event()] * 9), node.progress("run", node.event()), node.progress("other", node.event())
    )
    assert results == [Refused("limit", 2), Refused("limit", 2), Refused("guard", 0)]
    assert await node.do(node.progress("run", node.event())) == Recorded(3, 0, True)


async def test_two_progresses_of_one_run_in_one_batch_are_both_recorded(node: Node):
    await node.start("run")
    results = await node.commit(node.progress("run", node.event("a")), node.progress("run", node.event("b"), final=node.final()))
    assert results == [Recorded(3, 0, True), Recorded(5, 0, True)]
    assert await node.types("run") == ["run_created", "run_started", "step_completed", "step_completed", "run_completed"]


async def test_event_number_max_events_is_always_a_final_one(node: Node):
    await node.start("run", max_events=5)
    assert await node.do(node.progress("run", *[node.event()] * 3)) == Refused("limit", 2)
    assert await node.do(node.progress("run", node.event(), quiet=[node.event()] * 2)) == Refused("limit", 2)
    assert await node.do(node.progress("run", *[node.event()] * 2)) == Recorded(4, 0, True)
    assert await node.do(node.progress("run", node.event(), final=node.final())) == Refused("limit", 4)
    assert await node.do(node.progress("run", final=node.final())) == Recorded(5, 0, True)


async def test_suspending_lets_go_of_the_run_until_its_time(node: Node, clock: SetClock):
    await node.start("run")
    until_ms = clock.now_ms() + 500
    assert await node.do(node.suspend("run", until_ms=until_ms)) == Recorded(2, 0, True)
    row = await node.row("run")
    assert (row.status, row.owner, row.turn, row.wake_at) == (RUNNING, None, 2, until_ms)
    assert row.waiting_for == '{"kind":"sleep"}'
    assert await node.claimed() == []
    clock.advance(500)
    assert await node.claimed() == ["run"]
    row = await node.row("run")
    assert (row.turn, row.wake_at, row.waiting_for) == (3, None, None)


async def test_a_run_with_unread_mail_is_not_suspended_and_its_quiet_events_are_left_out(node: Node):
    await node.start("run")
    await node.do(node.put("run"))
    quiet = [node.event("timer", "signal_timed_out")]
    waiting = Waiting("{}", None)
    assert await node.do(node.progress("run", node.event("a"), quiet=quiet, suspend=waiting)) == Recorded(3, 1, False)
    row = await node.row("run")
    assert (row.owner, row.turn, row.waiting_for) == ("node", 1, None)
    done = node.progress(
        "run", node.event("go", "signal_received"), consumed=[(1, "m1")], consumed_to=1, quiet=quiet, suspend=waiting
    )
    assert await node.do(done) == Recorded(5, 1, True)
    assert (await node.types("run"))[2:] == ["step_completed", "signal_received", "signal_timed_out"]
    assert (await node.row("run")).owner is None


async def test_quiet_events_without_a_suspension_keep_the_run(node: Node):
    await node.start("run")
    assert await node.do(node.progress("run", quiet=[node.event("timer", "sleep_completed")])) == Recorded(3, 0, True)
    assert (await node.row("run")).owner == "node"


@pytest.mark.parametrize(
    ("consumed", "consumed_to"),
    [([(1, "other")], 1), ([(2, "m2")], 2), ([(1, "m1")], 2), ([(1, "m1"), (3, "m3")], 3), ([(3, "m3")], 3)],
)
async def test_transcribing_what_is_not_in_the_mailbox_is_refused(node: Node, consumed: list[tuple[int, str]], consumed_to: int):
    await node.start("run")
    await node.commit(node.put("run", "m1"), node.put("run", "m2"))
    progress = node.progress("run", node.event(), consumed=consumed, consumed_to=consumed_to)
    assert await node.do(progress) == Refused("message", 2)
    assert (await node.row("run")).mailbox_consumed == 0


async def test_transcribed_messages_are_not_delivered_again(node: Node):
    await node.start("run")
    await node.commit(node.put("run", "m1"), node.put("run", "m2"))
    await node.do(node.progress("run", node.event(), consumed=[(1, "m1")], consumed_to=1))
    assert [message.message_id for message in (await node.store.messages(["run"]))["run"]] == ["m2"]
    await node.do(node.progress("run", node.event(), consumed=[(2, "m2")], consumed_to=2))
    assert await node.store.messages(["run"]) == {}
    assert (await node.row("run")).mailbox_consumed == 2


async def test_what_a_kept_run_waits_for_is_shown_and_cleared_with_the_next_event(node: Node):
    await node.start("run")
    await node.do(node.progress("run", waiting=Waiting('{"kind":"signal"}', 7)))
    row = await node.row("run")
    assert (row.owner, row.turn, row.waiting_for, row.wake_at) == ("node", 1, '{"kind":"signal"}', None)
    await node.do(node.progress("run"))
    assert (await node.row("run")).waiting_for == '{"kind":"signal"}'
    await node.do(node.progress("run", node.event()))
    assert (await node.row("run")).waiting_for is None


async def test_a_released_run_is_due_at_once(node: Node, clock: SetClock):
    await node.start("run")
    assert await node.do(node.progress("run", node.event(), release=True)) == Recorded(3, 0, True)
    row = await node.row("run")
    assert (row.owner, row.turn, row.wake_at, row.waiting_for) == (None, 2, clock.now_ms(), None)
    other = await another(node)
    assert await other.claimed() == ["run"]


async def test_code_that_does_not_fit_is_counted_until_it_fits(node: Node, clock: SetClock):
    await node.start("run")
    for tries in (1, 2):
        clock.advance(1)
        waiting = Waiting('{"kind":"code"}', clock.now_ms())
        await node.do(node.progress("run", turn=2 * tries - 1, misfit=True, suspend=waiting))
        assert (await node.row("run")).tries == tries
        assert await node.claimed() == ["run"]
    await node.do(node.progress("run", node.event(), turn=5))
    assert (await node.row("run")).tries == 0


async def test_code_that_does_not_fit_lets_go_of_its_run_even_with_unread_mail(node: Node):
    await node.start("run")
    await node.do(node.put("run"))
    until_ms = node.clock.now_ms() + 100
    assert await node.do(node.progress("run", misfit=True, suspend=Waiting("{}", until_ms))) == Recorded(2, 1, True)
    row = await node.row("run")
    assert (row.owner, row.wake_at, row.tries) == (None, until_ms, 1)


async def test_drafts_kept_between_batches_never_hide_what_another_node_did(node: Node):
    await node.start("run")
    other = await another(node)
    await node.do(node.progress("run", node.event()))
    await other.do(other.emit("run"))
    await other.do(other.put("run"))
    assert await node.do(node.progress("run", node.event(), suspend=Waiting("{}", None))) == Recorded(5, 1, False)
    await other.do(other.cancel("run"))
    assert await node.do(node.progress("run", node.event())) == Refused("guard", 6)
