"""New runs: what is stored, and which trigger finds what is there."""

import pytest

from stepwell.store.base import PENDING, RUNNING, RunRow, Stored, Triggered
from tests.store.acting import Node, SetClock


async def test_a_new_run_is_pending_and_due_with_its_input_in_the_first_event(node: Node, clock: SetClock):
    triggered = await node.do(node.new("run", tags='["a"]', priority=2, parent_run_id=None))
    assert (triggered.reason, triggered.claimed) == ("created", False)
    stored = await node.store.find_run("run")
    assert stored is not None
    assert stored.row == triggered.row
    assert stored.created == '{"input":1}'
    assert stored.final is None
    row = stored.row
    assert (row.status, row.owner, row.turn, row.attempt, row.seq) == (PENDING, None, 0, 1, 1)
    assert (row.wake_at, row.rank) == (clock.now_ms(), clock.now_ms() - 120_000)
    assert await node.types("run") == ["run_created"]


async def test_a_claimed_trigger_belongs_to_the_node_with_turn_1_and_has_started(node: Node, clock: SetClock):
    triggered = await node.do(node.new("run", claim=True, timeout_ms=700))
    assert triggered.claimed
    row = await node.row("run")
    assert row == triggered.row
    assert (row.status, row.owner, row.turn, row.seq) == (RUNNING, "node", 1, 2)
    assert (row.started_at, row.deadline, row.wake_at) == (clock.now_ms(), clock.now_ms() + 700, None)
    assert [(event.type, event.payload) for event in await node.history("run")] == [
        ("run_created", '{"input":1}'),
        ("run_started", '{"attempt": 1}'),
    ]


async def test_a_run_that_is_not_due_is_not_claimed(node: Node, clock: SetClock):
    due_ms = clock.now_ms() + 60_000
    triggered = await node.do(node.new("run", claim=True, due_ms=due_ms, timeout_ms=5))
    assert not triggered.claimed
    row = await node.row("run")
    assert (row.status, row.owner, row.wake_at, row.deadline, row.rank) == (PENDING, None, due_ms, None, due_ms)


async def test_the_same_id_with_equal_input_finds_the_run(node: Node):
    first = await node.do(node.new("run"))
    again = await node.do(node.new("run", claim=True))
    assert again == Triggered("same", first.row)
    assert await node.types("run") == ["run_created"]


@pytest.mark.parametrize("other", [{"input_hash": "other"}, {"workflow": "other"}])
async def test_the_same_id_with_other_input_or_workflow_is_taken(node: Node, other: dict[str, str]):
    await node.do(node.new("run"))
    assert (await node.do(node.new("run", **other))).reason == "id_taken"


async def test_a_key_finds_its_run_whatever_id_was_drawn(node: Node):
    await node.do(node.new("run", idempotency_key="k"))
    again = await node.do(node.new("drawn", idempotency_key="k"))
    assert (again.reason, again.row.run_id, again.claimed) == ("same", "run", False)
    assert await node.store.find_run("drawn") is None


async def test_a_key_with_other_input_is_taken_and_nothing_is_stored(node: Node):
    await node.do(node.new("run", idempotency_key="k"))
    assert (await node.do(node.new("drawn", idempotency_key="k", input_hash="other"))).reason == "key_taken"
    assert await node.store.find_run("drawn") is None


async def test_a_key_is_per_workflow(node: Node):
    await node.do(node.new("run", idempotency_key="k"))
    assert (await node.do(node.new("other", idempotency_key="k", workflow="other"))).reason == "created"


async def test_an_id_and_a_key_of_different_runs_differ(node: Node):
    await node.do(node.new("one", idempotency_key="k"))
    await node.do(node.new("two"))
    assert (await node.do(node.new("two", idempotency_key="k"))).reason == "id_and_key_differ"
    assert (await node.do(node.new("two", idempotency_key="free"))).reason == "id_and_key_differ"
    assert (await node.do(node.new("three", idempotency_key="free"))).reason == "created"


async def test_equal_keys_and_ids_in_one_batch_make_one_run(node: Node):
    results = await node.commit(
        node.new("one", idempotency_key="k"),
        node.new("two", idempotency_key="k"),
        node.new("one"),
        node.new("three", idempotency_key="k", input_hash="other"),
        node.new("four"),
        node.new("four", claim=True),
    )
    assert [result.reason for result in results] == ["created", "same", "same", "key_taken", "created", "same"]  # type: ignore[union-attr]
    assert await node.store.statuses(["one", "two", "three", "four"]) == {"one": PENDING, "four": PENDING}


async def test_a_parent_must_be_there_and_not_be_over(node: Node):
    assert (await node.do(node.new("child", parent_run_id="none"))).reason == "no_parent"
    await node.start("parent")
    assert (await node.do(node.new("child", parent_run_id="parent"))).reason == "created"
    await node.do(node.cancel("parent"))
    assert (await node.do(node.new("late", parent_run_id="parent"))).reason == "parent_over"
    assert (await node.do(node.new("child", parent_run_id="parent"))).reason == "same"
    together = await node.commit(node.new("mother"), node.new("daughter", parent_run_id="mother"))
    assert [result.reason for result in together] == ["created", "created"]  # type: ignore[union-attr]


async def test_a_signal_comes_along_into_the_mailbox_of_a_new_run(node: Node):
    triggered = await node.do(node.new("run", claim=True, signal=node.put("run")))
    assert (triggered.reason, triggered.row.mailbox_seq) == ("created", 1)
    [history] = await node.store.load(["run"])
    assert [(message.mailbox_seq, message.message_id) for message in history.messages] == [(1, "m1")]


async def test_a_signal_comes_along_to_the_run_that_the_key_names_and_wakes_it(node: Node, clock: SetClock):
    await node.start("run", idempotency_key="k")
    await node.do(node.suspend("run"))
    triggered = await node.do(node.new("drawn", idempotency_key="k", signal=node.put("drawn")))
    assert (triggered.reason, triggered.row.run_id, triggered.row.wake_at) == ("same", "run", clock.now_ms())
    again = await node.do(node.new("drawn", idempotency_key="k", signal=node.put("drawn")))
    assert (again.reason, again.row.mailbox_seq) == ("same", 1)
    assert [message.message_id for message in (await node.store.messages(["run"]))["run"]] == ["m1"]


async def test_a_signal_that_comes_along_to_a_run_that_is_over_or_full_is_told(node: Node, store_settings):  # type: ignore[no-untyped-def]
    await node.do(node.new("run"))
    for number in range(store_settings.messages_max):
        assert (await node.do(node.put("run", f"m{number}"))).reason == "stored"
    assert (await node.do(node.new("run", signal=node.put("run", "more")))).reason == "full"
    await node.do(node.cancel("run"))
    assert (await node.do(node.new("run", signal=node.put("run", "more")))).reason == "over"


async def test_a_refused_trigger_leaves_its_signal_out(node: Node):
    await node.do(node.new("run"))
    refused = await node.do(node.new("run", input_hash="other", signal=node.put("run")))
    assert refused.reason == "id_taken"
    assert (await node.row("run")).mailbox_seq == 0
    assert await node.do(node.put("run")) == Stored("stored", 1, None)


async def test_rows_are_as_wide_as_the_table(node: Node):
    row = await node.start("run")
    assert isinstance(row, RunRow)
    assert row == await node.row("run")
