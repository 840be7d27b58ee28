"""Forks: new runs that begin with the events of another."""

from stepwell.progress import StoredEvent
from stepwell.store.base import PENDING, HookRow, NewRun, Share, Triggered
from tests.store.acting import Node, SetClock


async def source(node: Node, events: int) -> None:
    """Make a run with so many events besides the two at its beginning."""
    await node.do(node.new("source", claim=True))
    await node.do(node.progress("source", *(node.event(f"s{n}") for n in range(events))))


def fork(node: Node, run_id: str, seq: int, *, rewritten: dict[int, str] | None = None, **share: object) -> NewRun:
    """Return a fork of the source; ``rewritten`` are payloads by number."""
    made = {1: '{"input":2}', **(rewritten or {})}
    new = [
        StoredEvent(number, "run_created" if number == 1 else "step_completed", "" if number == 1 else f"r{number}", "", text, 7)
        for number, text in sorted(made.items())
    ]
    shared: dict[str, object] = {"mailbox_seq": 0, "undo": 0, "hooks": (), **share}
    new_run = node.new(run_id)
    new_run.share = Share(source_run_id="source", seq=seq, rewritten=new, forked='{"from":1}', **shared)  # type: ignore[arg-type]
    return new_run


async def test_a_fork_begins_with_the_events_of_its_source_and_says_so(node: Node, clock: SetClock):
    await source(node, 6)
    triggered = await node.do(fork(node, "fork", 6, rewritten={4: '{"other":1}'}))
    assert triggered.reason == "created"
    before, after = await node.history("source"), await node.history("fork")
    assert [event.seq for event in after] == list(range(1, 8))
    assert after[0].payload == '{"input":2}'
    assert after[1:3] == before[1:3]
    assert (after[3].step_id, after[3].payload) == ("r4", '{"other":1}')
    assert after[4:6] == before[4:6]
    assert after[6][1:] == ("run_forked", "", "", '{"from":1}', clock.now_ms())
    row = await node.row("fork")
    assert row == triggered.row
    assert (row.status, row.owner, row.seq, row.wake_at, row.parent_run_id) == (PENDING, None, 7, clock.now_ms(), None)
    assert await node.store.check() == []


async def test_messages_of_a_fork_are_numbered_behind_those_that_it_shares(node: Node):
    await source(node, 1)
    await node.do(fork(node, "fork", 2, mailbox_seq=5))
    stored = await node.do(node.put("fork", "m"))
    assert (stored.reason, stored.seq) == ("stored", 6)
    assert await node.store.check() == []


async def test_a_fork_has_hooks_of_its_own(node: Node):
    await source(node, 1)
    hook = HookRow("fork", "h", 2, "name", "approve", "null", 10**12, 5)
    await node.do(fork(node, "fork", 2, hooks=[hook]))
    assert await node.store.hooks("fork") == [hook]
    assert await node.store.hooks("source") == []


async def test_a_fork_without_a_source_or_without_room_is_not_made_and_its_neighbours_are(node: Node):
    # trap 36
    await source(node, 3)
    lost = fork(node, "lost", 2)
    assert lost.share is not None
    lost.share.source_run_id = "none"
    full = fork(node, "full", 3)
    full.max_events = 5
    results = await node.commit(lost, full, node.new("neighbour"), fork(node, "fork", 3))
    assert [result.reason for result in results if isinstance(result, Triggered)] == ["no_source", "limit", "created", "created"]
    assert await node.store.find_run("lost") is None
    assert await node.store.find_run("full") is None
    assert await node.store.check() == []


async def test_a_fork_asked_for_again_is_found_and_its_id_is_no_other_ones(node: Node):
    await source(node, 2)
    first = await node.do(fork(node, "fork", 2))
    assert (await node.do(fork(node, "fork", 2))).reason == "same"
    other = fork(node, "fork", 2)
    other.input_hash = "of another fork"
    assert (await node.do(other)).reason == "id_taken"
    assert await node.row("fork") == first.row
    assert len(await node.history("fork")) == 3


async def test_a_source_of_the_same_batch_is_found(node: Node):
    results = await node.commit(node.new("source"), fork(node, "fork", 1))
    assert [result.reason for result in results if isinstance(result, Triggered)] == ["created", "created"]
    assert await node.types("fork") == ["run_created", "run_forked"]
