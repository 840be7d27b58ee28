"""Runs that are over are removed: as tombstones first, then for good, a portion a commit."""

from typing import Any

import pytest

from stepwell.store.base import COMPLETED, FAILED, RunQuery, Share, Store, Triggered
from stepwell.store.pruning import Tombstone, portion_of
from stepwell.store.retention import Prune, Sweep, Swept
from tests.store.acting import WORKFLOW, Node, SetClock, another

LATER = 10**12


async def ended(node: Node, run_id: str, *, events: int = 3, **more: Any) -> None:
    await node.start(run_id, **more)
    steps = [node.event(f"step-{number}") for number in range(events - 3)]
    await node.do(node.progress(run_id, *steps, final=node.final()))


def prune(*run_ids: str, before_ms: int = LATER) -> Prune:
    return Prune(runs=[(run_id, None) for run_id in run_ids], before_ms=before_ms)


async def swept(node: Node, rows_max: int = 1_000) -> Swept:
    result = await node.do(Sweep(rows_max=rows_max))
    assert isinstance(result, Swept)
    return result


async def test_a_tombstone_is_found_by_no_reader_and_still_has_its_id_and_key(node: Node, store: Store):
    await ended(node, "old", idempotency_key="k")
    assert await node.do(prune("old")) == ["old"]
    assert await store.find_run("old") is None
    assert await store.statuses(["old"]) == {}
    assert await store.load(["old"]) == []
    assert await store.count_by_status() == {}
    assert await store.check() == []
    assert (await node.do(node.new("old"))).reason == "pruned"
    assert (await node.do(node.new("other", idempotency_key="k"))).reason == "pruned"
    assert (await node.do(node.put("old"))).reason == "missing"
    assert (await node.do(node.emit("old"))).reason == "missing"
    assert (await node.do(node.cancel("old"))).reason == "missing"
    assert (await node.do(node.new("child", parent_run_id="old"))).reason == "no_parent"


async def test_what_is_gone_for_good_has_left_nothing_and_its_id_and_key_are_free(node: Node, store: Store):
    await node.start("old", idempotency_key="k", tags='["t"]')
    await node.do(node.put("old"))
    await node.do(node.cancel("old"))
    await node.do(prune("old"))
    assert await store.list_runs(RunQuery(tags=["t"])) == []
    assert await swept(node) == Swept(1, 5, False)  # three events, a message, the row
    assert await store.check() == []
    assert await store.events("old", 0, 10) == []
    again = await node.do(node.new("new", idempotency_key="k"))
    assert isinstance(again, Triggered)
    assert again.reason == "created"
    assert (await node.do(node.new("old"))).reason == "created"
    assert await store.list_runs(RunQuery(tags=["t"])) == []


async def test_a_commit_removes_no_more_than_it_is_told_and_the_next_goes_on(node: Node, store: Store):
    await ended(node, "long", events=25)
    await ended(node, "short")
    await node.do(prune("long", "short"))
    rows, runs = [], 0
    while True:
        done = await swept(node, rows_max=10)
        assert await store.check() == []
        rows.append(done.rows)
        runs += done.runs
        if not done.more:
            break
    assert (runs, sum(rows)) == (2, 25 + 1 + 3 + 1)
    assert max(rows) <= 10
    assert len(rows) >= 3


async def test_who_is_not_over_or_has_ended_too_lately_stays(node: Node, store: Store, clock: SetClock):
    await ended(node, "old")
    await node.start("live")
    clock.advance(1_000)
    await ended(node, "young")
    assert await node.do(prune("old", "live", "young", before_ms=clock.now_ms())) == ["old"]
    assert await store.statuses(["old", "live", "young"]) == {"live": 1, "young": COMPLETED}


async def test_nobody_is_removed_for_whom_somebody_waits_or_whose_parent_goes_on(node: Node, store: Store):
    await node.start("parent")
    await ended(node, "child", parent_run_id="parent")
    asked = Prune(runs=[("child", "parent")], before_ms=LATER)
    assert await node.do(asked) == []
    await node.do(node.progress("parent", final=node.final()))
    assert await node.do(asked) == ["child"]


async def test_a_retried_run_for_which_somebody_waits_again_is_not_there_to_be_removed(node: Node, store: Store):
    await node.start("target")
    await node.start("waiter")
    await node.do(node.progress("waiter", awaits=["target"]))
    await node.do(node.progress("target", final=node.final(FAILED, "run_failed")))
    # Who waited was told in the same commit, so the outcome is in its mailbox: the run may go.
    assert (await node.row("waiter")).mailbox_seq == 1
    assert await node.do(prune("target")) == ["target"]


async def test_what_waits_for_a_run_that_is_removed_is_told_that_there_is_none(node: Node, store: Store):
    await ended(node, "target")
    await node.start("waiter")
    await node.do(prune("target"))
    await node.do(node.progress("waiter", awaits=["target"]))
    (message,) = (await store.messages(["waiter"]))["waiter"]
    assert '"missing"' in message.payload


async def test_a_fork_of_a_tombstone_is_refused(node: Node, store: Store):
    await ended(node, "source", events=6)
    await node.do(prune("source"))
    await swept(node, rows_max=2)
    share = Share(source_run_id="source", seq=3, rewritten=[], forked="{}", mailbox_seq=0, undo=0, hooks=[])
    assert (await node.do(node.new("fork", share=share))).reason == "no_source"
    assert (await node.do(node.new("source"))).reason == "pruned"


async def test_the_same_batch_may_end_a_run_and_remove_it(node: Node, store: Store):
    await node.start("run")
    _, gone = await node.commit(node.progress("run", final=node.final()), prune("run"))
    assert gone == ["run"]
    assert await swept(node) == Swept(1, 4, False)


async def test_old_runs_are_found_oldest_first_page_by_page(node: Node, store: Store, clock: SetClock):
    for number in range(5):
        await ended(node, f"run-{number}")
        clock.advance(1)
    await node.start("live")
    page = await store.prunable(COMPLETED, clock.now_ms() - 1, (-1, ""), 3)
    assert [run.run_id for run in page] == ["run-0", "run-1", "run-2"]
    rest = await store.prunable(COMPLETED, clock.now_ms() - 1, (page[-1].created_at, page[-1].run_id), 3)
    assert [run.run_id for run in rest] == ["run-3"]
    assert rest[0].workflow == WORKFLOW[0]


async def test_two_nodes_that_remove_the_same_runs_remove_each_once(node: Node, store: Store):
    for number in range(6):
        await ended(node, f"run-{number}", events=8)
    other = await another(node)
    ids = [f"run-{number}" for number in range(6)]
    marked = [*(await node.do(prune(*ids))), *(await other.do(prune(*ids)))]
    assert sorted(marked) == ids
    runs = 0
    for turn in range(100):
        done = await swept((node, other)[turn % 2], rows_max=5)
        runs += done.runs
        if not done.more:
            break
    assert runs == 6
    assert await store.count_by_status() == {}


@pytest.mark.parametrize("rows_max", [1, 2, 7, 1_000])
def test_portions_cover_all_rows_once_and_end(rows_max: int):
    left = [Tombstone("a", 9, 3, "w", None), Tombstone("b", 1, 0, "w", "k"), Tombstone("c", 4, 20, "w", None)]
    events, messages, gone = list[tuple[str, int]](), list[tuple[str, int]](), list[str]()
    while left:
        portion = portion_of(left, rows_max)
        assert 0 < portion.rows <= rows_max
        events += [(run, seq) for run, after, upto in portion.events for seq in range(after + 1, upto + 1)]
        messages += [(run, seq) for run, after, upto in portion.messages for seq in range(after + 1, upto + 1)]
        gone += [each.run_id for each in portion.gone]
        worn = {each.run_id: each for each in portion.worn}
        left = [worn.get(each.run_id, each) for each in left if each.run_id not in gone]
    assert gone == ["a", "b", "c"]
    assert len(events) == len(set(events)) == 14
    assert len(messages) == len(set(messages)) == 23
