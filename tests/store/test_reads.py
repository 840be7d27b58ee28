"""What readers see."""

import pytest

from stepwell.progress import Message, StoredEvent
from stepwell.store.base import COMPLETED, PENDING, RUNNING, RunQuery, Update
from tests.store.acting import Node, SetClock, another


async def test_runs_are_loaded_with_history_and_unread_mail_in_the_order_asked(node: Node):
    await node.commit(node.new("a", claim=True), node.new("b"), node.put("b"), node.progress("a", node.event()))
    loaded = await node.store.load(["b", "none", "a"])
    assert [history.row.run_id for history in loaded] == ["b", "a"]
    assert [event.type for event in loaded[1].events] == ["run_created", "run_started", "step_completed"]
    assert loaded[1].messages == []
    assert loaded[0].messages == [Message(1, "signal", "go", "m1", '"yes"', node.clock.now_ms())]
    assert await node.store.load([]) == []


async def test_long_histories_are_loaded_whole_and_in_order(node: Node):
    amounts = {"long": 1_801, "short": 3, "middle": 499}
    for run_id, amount in amounts.items():
        await node.start(run_id, max_events=5_000)
        await node.do(node.progress(run_id, *[node.event(f"{run_id}-{n}") for n in range(amount)]))
    loaded = {history.row.run_id: history.events for history in await node.store.load([*amounts, *amounts])}
    for run_id, amount in amounts.items():
        assert [event.seq for event in loaded[run_id]] == list(range(1, amount + 3))
        assert loaded[run_id][-1].step_id == f"{run_id}-{amount - 1}"
        assert await node.store.events(run_id, 0, 10_000) == loaded[run_id]


async def test_events_come_in_pages(node: Node):
    await node.start("run")
    await node.do(node.progress("run", node.event("a"), node.event("b")))
    assert [event.seq for event in await node.store.events("run", 1, 2)] == [2, 3]
    assert await node.store.events("run", 3, 5) == [
        StoredEvent(4, "step_completed", "b", "b", '{"result":1}', node.clock.now_ms())
    ]
    assert await node.store.events("run", 4, 5) == []
    assert await node.store.events("none", 0, 5) == []


@pytest.mark.parametrize(
    "text", ['"\\" \\\\ \\u0000"', '"ß 🌊 \u2028 </script>"', "[" * 50 + "]" * 50, "1e400", '"' + "x" * 70_000 + '"']
)
async def test_a_payload_comes_back_letter_by_letter(node: Node, text: str):
    await node.start("run", created=text)
    event = node.event()._replace(payload=text, step_id="né#1", name="né")
    await node.do(node.progress("run", event, final=node.final()))
    stored = await node.store.find_run("run")
    assert stored is not None
    assert stored.created == text
    history = await node.history("run")
    assert history[2] == StoredEvent(3, *event)
    [loaded] = await node.store.load(["run"])
    assert loaded.events == history


async def test_a_run_that_is_not_there_is_not_found(node: Node):
    assert await node.store.find_run("none") is None
    assert await node.store.statuses(["none"]) == {}
    assert await node.store.messages(["none"]) == {}
    assert await node.store.owned("nobody") == []


async def test_statuses_of_those_that_exist(node: Node):
    await node.commit(node.new("new"), node.new("running", claim=True), node.new("done", claim=True))
    await node.do(node.progress("done", final=node.final()))
    assert await node.store.statuses(["new", "running", "none", "done"]) == {
        "new": PENDING,
        "running": RUNNING,
        "done": COMPLETED,
    }


async def test_lists_come_newest_first_in_pages_without_gaps(node: Node, clock: SetClock):
    for n in range(7):
        await node.commit(node.new(f"run-{n}"), node.new(f"twin-{n}"))
        clock.advance(1)
    expected = [f"{kind}-{n}" for n in reversed(range(7)) for kind in ("twin", "run")]
    seen: list[str] = []
    before: tuple[int, str] | None = None
    while page := await node.store.list_runs(RunQuery(limit=3, before=before)):
        seen += [stored.row.run_id for stored in page]
        before = (page[-1].row.created_at, page[-1].row.run_id)
    assert seen == expected


async def test_lists_are_filtered(node: Node, clock: SetClock):
    start_ms = clock.now_ms()
    await node.commit(node.new("a", workflow="one", tags='["x","y"]'), node.new("b", workflow="two", tags='["y"]'))
    clock.advance(10)
    await node.commit(node.new("c", parent_run_id="a", tags='["x,y","\\"x\\""]'), node.new("d", workflow="one", claim=True))

    async def listed(**query: object) -> list[str]:
        return [stored.row.run_id for stored in await node.store.list_runs(RunQuery(**query))]  # type: ignore[arg-type]

    assert await listed() == ["d", "c", "b", "a"]
    assert await listed(workflow="one") == ["d", "a"]
    assert await listed(status=RUNNING) == ["d"]
    assert await listed(workflow="one", status=PENDING) == ["a"]
    assert await listed(parent_run_id="a") == ["c"]
    assert await listed(tags=["y"]) == ["b", "a"]
    assert await listed(tags=["y", "x"]) == ["a"]
    assert await listed(tags=['"x"']) == ["c"]
    assert await listed(tags=["nothing"]) == []
    assert await listed(created_after=start_ms + 1) == ["d", "c"]
    assert await listed(created_before=start_ms + 1) == ["b", "a"]
    assert await listed(tags=["y"], limit=1) == ["b"]


async def test_a_run_is_listed_by_the_tags_that_it_has_now(node: Node, clock: SetClock):
    async def listed(*tags: str, **query: object) -> list[str]:
        return [stored.row.run_id for stored in await node.store.list_runs(RunQuery(tags=tags, **query))]  # type: ignore[arg-type]

    def retagged(run_id: str, tags: str | None) -> Update:
        return Update(run_id=run_id, tags=tags, priority=1, max_events=None, timeout_ms=None, at_ms=clock.now_ms())

    await node.commit(node.new("a", tags='["x","y","x"]'), node.new("b", tags='["x"]'), node.new("c"))
    clock.advance(5)
    await node.commit(retagged("a", '["ü","ü"]'), retagged("b", None), retagged("c", '["x"]'))
    assert await listed("x") == ["c", "b"]
    assert await listed("y") == []
    assert await listed("ü") == ["a"]
    assert await listed("x", before=(clock.now_ms() - 5, "c")) == ["b"], "its age is what it was"
    await node.do(retagged("b", "[]"))
    assert await listed("x") == ["c"]
    assert await node.store.check() == []


async def test_the_rarest_tag_or_the_status_leads_and_the_rest_is_looked_up(node: Node):
    await node.commit(*(node.new(f"run-{n}", tags='["all","even"]' if n % 2 == 0 else '["all"]') for n in range(40)))
    await node.start("done", tags='["all","even","one"]')
    await node.do(node.progress("done", final=node.final()))

    async def listed(*tags: str, **query: object) -> list[str]:
        return [stored.row.run_id for stored in await node.store.list_runs(RunQuery(tags=tags, **query))]  # type: ignore[arg-type]

    assert set(await listed("all", "even", limit=100)) == {"done", *(f"run-{n}" for n in range(0, 40, 2))}
    assert await listed("all", "even", "one") == ["done"]
    assert await listed("all", "even", status=COMPLETED) == ["done"]
    assert await listed("one", status=PENDING) == []
    assert len(await listed("even", "all", status=PENDING, limit=100)) == 20


async def test_lists_carry_input_and_output_only_if_asked(node: Node):
    await node.start("done")
    await node.do(node.progress("done", final=node.final()))
    [plain] = await node.store.list_runs(RunQuery())
    assert (plain.created, plain.final) == (None, None)
    [full] = await node.store.list_runs(RunQuery(with_input=True, with_output=True))
    assert full.created == '{"input":1}'
    assert full.final is not None
    assert full.final.payload == '{"output":2}'


async def test_counts(node: Node, clock: SetClock):
    await another(node)
    await node.commit(node.new("due"), node.new("later", due_ms=clock.now_ms() + 5), node.new("owned", claim=True))
    await node.start("asleep")
    await node.do(node.suspend("asleep", until_ms=clock.now_ms() + 5))
    assert await node.store.count_by_status() == {PENDING: 2, RUNNING: 2}
    assert await node.store.queue_depth(10) == 1
    assert len(await node.store.live_nodes()) == 2
    clock.advance(5)
    assert await node.store.queue_depth(10) == 3
    assert await node.store.queue_depth(2) == 2


async def test_a_store_tells_the_time_of_its_clock(node: Node, clock: SetClock):
    assert node.store.now_ms() == clock.now_ms()
    assert node.store.name
