"""Looking at runs: their events, lists of them, why one does not move, and counts."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from stepwell import AsyncClient, ConflictError, Context, Event, Page, Run, Settings, ValidationError, step, workflow
from stepwell.model import EVENT_TYPES
from tests.api.tools import cases, executed, ran, seen, types_of, waits_for
from tests.clients import PATIENCE_S


@workflow("history-echo")
async def echo(ctx: Context, input: Any) -> Any:
    return input


@workflow("history-waits")
async def waits(ctx: Context) -> Any:
    await step("first", lambda: 1)()
    return await ctx.wait_for_signal("go")


# -- events


async def test_events_are_numbered_from_1_and_carry_the_documented_fields(client: AsyncClient):
    run = await executed(client, echo, {"a": 1})
    events = await client.workflow.get_events(run.run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.run_id for event in events} == {run.run_id}
    assert len({event.event_id for event in events}) == len(events)
    assert all(isinstance(event, Event) and event.created_at.tzinfo == dt.UTC for event in events)
    assert events[0].event_type == "run_created"
    assert events[0].payload["input"] == {"a": 1}
    assert events[-1].payload == {"output": {"a": 1}}
    assert {event.event_type for event in events} <= EVENT_TYPES


async def test_events_can_be_read_in_parts(client: AsyncClient):
    @workflow("history-parts")
    async def wf(ctx):
        for _ in range(20):
            await step("one", lambda: 1)()

    run = await executed(client, wf)
    everything = await client.workflow.get_events(run.run_id)
    assert len(everything) == 23
    assert await client.workflow.get_events(run.run_id, after=0) == everything
    assert await client.workflow.get_events(run.run_id, after=20) == everything[20:]
    assert await client.workflow.get_events(run.run_id, limit=5) == everything[:5]
    assert await client.workflow.get_events(run.run_id, after=5, limit=5) == everything[5:10]
    assert await client.workflow.get_events(run.run_id, after=23) == []
    assert await client.workflow.get_events(run.run_id, after=10**6) == []


@cases("options", [{"after": -1}, {"after": "1"}, {"limit": 0}, {"limit": 1.5}, {"after": True}])
async def test_parts_out_of_bounds_are_refused(client: AsyncClient, options: Any):
    run = await client.workflow.trigger(echo)
    with pytest.raises(ValidationError, match=next(iter(options))):
        await client.workflow.get_events(run.run_id, **options)


async def test_a_stream_yields_what_is_there_then_what_comes_and_ends_after_the_final_event(client: AsyncClient):
    async with client.worker(waits):
        run = await client.workflow.trigger(waits)
        await waits_for(client, run.run_id, "signal")
        got: list[Event] = []
        async for event in client.workflow.stream_events(run.run_id):
            got.append(event)
            if event.event_type == "step_completed":
                await client.workflow.send_signal(run.run_id, "go")
    assert got == await client.workflow.get_events(run.run_id)
    assert [event.event_type for event in got][-2:] == ["signal_received", "run_completed"]


async def test_a_stream_can_begin_behind_an_event_and_of_a_run_that_is_over_is_its_history(client: AsyncClient):
    run = await executed(client, echo)
    everything = await client.workflow.get_events(run.run_id)
    assert [event async for event in client.workflow.stream_events(run.run_id)] == everything
    assert [event async for event in client.workflow.stream_events(run.run_id, after=2)] == everything[2:]
    assert [event async for event in client.workflow.stream_events(run.run_id, after=len(everything))] == []


async def test_many_streams_of_one_run_all_see_everything(client: AsyncClient):
    async def collect(run_id: str) -> list[int]:
        return [event.seq async for event in client.workflow.stream_events(run_id)]

    run = await client.workflow.trigger(waits)
    streams = [asyncio.create_task(collect(run.run_id)) for _ in range(10)]
    async with client.worker(waits):
        await client.workflow.send_signal(run.run_id, "go")
        assert await asyncio.gather(*streams) == [[1, 2, 3, 4, 5]] * 10


async def test_a_stream_that_is_left_early_leaves_nothing_behind(client: AsyncClient):
    run = await client.workflow.trigger(echo)
    before = len(asyncio.all_tasks())
    for _ in range(20):
        async for _event in client.workflow.stream_events(run.run_id):
            break
    assert len(asyncio.all_tasks()) < before + 20, (
        "each stream left a task behind; what the client does for itself is not counted"
    )


# -- events of users


async def test_an_event_of_ones_own_is_appended_and_told(client: AsyncClient):
    async with client.worker(waits):
        run = await client.workflow.trigger(waits)
        await waits_for(client, run.run_id, "signal")
        event = await client.workflow.emit_event(run.run_id, "payment_authorised", {"amount": 10})
        assert (event.seq, event.event_type, event.payload, event.run_id) == (4, "payment_authorised", {"amount": 10}, run.run_id)
        assert (await client.workflow.get_events(run.run_id, after=3)) == [event]
        await client.workflow.send_signal(run.run_id, "go", "went on")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "went on"


@cases("kind", sorted(EVENT_TYPES))
async def test_a_built_in_type_is_refused(client: AsyncClient, kind: str):
    run = await client.workflow.trigger(echo)
    with pytest.raises(ValidationError, match=kind) as refused:
        await client.workflow.emit_event(run.run_id, kind)
    assert refused.value.field == "event_type"
    assert await types_of(client, run.run_id) == ["run_created"]


async def test_a_run_that_is_over_takes_no_events(client: AsyncClient):
    # promise 8
    run = await executed(client, echo)
    with pytest.raises(ConflictError, match="over"):
        await client.workflow.emit_event(run.run_id, "late")
    assert (await client.workflow.get_run(run.run_id)).event_count == run.event_count


async def test_events_before_the_start_and_while_running_do_not_disturb_the_run(client: AsyncClient):
    # promise 5
    @workflow("history-disturbed")
    async def wf(ctx):
        got = []
        for number in range(5):
            got.append(await step("one", lambda number=number: number)())
            await client.workflow.emit_event(ctx.run_id, "progress", number)
            await ctx.wait_for_signal("go")
        return got

    run = await client.workflow.trigger(wf)
    await client.workflow.emit_event(run.run_id, "early", 0)
    for number in range(5):
        async with client.worker(wf):
            await seen(client, run.run_id, "progress", number + 1)
            await client.workflow.emit_event(run.run_id, "from outside", number)
        await client.workflow.send_signal(run.run_id, "go")
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [0, 1, 2, 3, 4]
    kinds = await types_of(client, run.run_id)
    assert (kinds.count("progress"), kinds.count("from outside"), kinds.count("early")) == (5, 5, 1)


# -- lists


async def test_lists_are_newest_first_and_page_through_everything_once(client: AsyncClient):
    made = [(await client.workflow.trigger("history-listed", number)).run_id for number in range(25)]
    page = await client.workflow.get_runs("history-listed")
    assert isinstance(page, Page)
    assert [run.run_id for run in page] == made[::-1][:20]
    assert page.next_cursor is not None
    rest = await client.workflow.get_runs("history-listed", cursor=page.next_cursor)
    assert [run.run_id for run in rest.items] == made[::-1][20:]
    assert rest.next_cursor is None
    got, cursor = [], None
    while True:
        page = await client.workflow.get_runs("history-listed", limit=7, cursor=cursor)
        got += [run.run_id for run in page]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert got == made[::-1]
    assert [run.run_id async for run in client.workflow.iter_runs("history-listed")] == made[::-1]


async def test_a_cursor_stays_good_while_runs_are_added(client: AsyncClient):
    made = [(await client.workflow.trigger("history-added", number)).run_id for number in range(6)]
    page = await client.workflow.get_runs("history-added", limit=3)
    await client.workflow.trigger("history-added", "later")
    rest = await client.workflow.get_runs("history-added", limit=3, cursor=page.next_cursor)
    assert [run.run_id for run in page] + [run.run_id for run in rest] == made[::-1]


async def test_lists_can_be_narrowed_down(client: AsyncClient):
    first = await client.workflow.trigger("history-a", 1, tags=["red", "big"])
    second = await client.workflow.trigger("history-b", 2, tags=["red"], parent_run_id=first.run_id)
    over = await executed(client, echo, 3, tags=["big"])

    async def found(*args: Any, **kwargs: Any) -> set[str]:
        return {run.run_id for run in await client.workflow.get_runs(*args, **kwargs)}

    everything = {first.run_id, second.run_id, over.run_id}
    assert await found() == everything
    assert await found("history-a") == {first.run_id}
    assert await found(workflow_name=echo) == {over.run_id}
    assert await found(status="completed") == {over.run_id}
    assert await found(status="pending") == {first.run_id, second.run_id}
    assert await found(status="failed") == set()
    assert await found(parent_run_id=first.run_id) == {second.run_id}
    assert await found(tags=["red"]) == {first.run_id, second.run_id}
    assert await found(tags=["red", "big"]) == {first.run_id}
    assert await found(tags=["green"]) == set()
    assert await found("history-a", status="pending", tags=["red"]) == {first.run_id}
    assert await found("nothing of this name") == set()
    assert await found(created_after=first.created_at - dt.timedelta(seconds=1)) == everything
    assert await found(created_after=over.created_at + dt.timedelta(seconds=1)) == set()
    assert await found(created_before=first.created_at) == set()
    assert await found(created_before=over.created_at + dt.timedelta(seconds=1)) == everything


async def test_input_and_output_come_with_a_list_only_if_asked_for(client: AsyncClient):
    run = await executed(client, echo, {"large": True})
    (plain,) = await client.workflow.get_runs(echo)
    assert (plain.input, plain.output) == (None, None)
    assert (plain.run_id, plain.status, plain.event_count) == (run.run_id, "completed", 3)
    (with_input,) = await client.workflow.get_runs(echo, include=("input",))
    assert (with_input.input, with_input.output) == ({"large": True}, None)
    (with_both,) = await client.workflow.get_runs(echo, include=["input", "output"])
    assert (with_both.input, with_both.output) == ({"large": True}, {"large": True})
    (iterated,) = [run async for run in client.workflow.iter_runs(echo, include=("output",))]
    assert (iterated.input, iterated.output) == (None, {"large": True})


async def test_a_list_tells_the_error_of_failed_runs(client: AsyncClient):
    @workflow("history-fails")
    async def wf(ctx):
        raise ValueError("for the list")

    await executed(client, wf)
    (run,) = await client.workflow.get_runs(wf, status="failed")
    assert run.error == "ValueError: for the list"


@cases(
    ("options", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"limit": 10**9}, "limit"),
        ({"limit": "20"}, "limit"),
        ({"status": "done"}, "status"),
        ({"status": "COMPLETED"}, "status"),
        ({"status": 3}, "status"),
        ({"status": ["completed"]}, "status"),
        ({"include": ("everything",)}, "include"),
        ({"include": "input"}, "include"),
        ({"tags": "red"}, "tags"),
        ({"workflow_name": ""}, "workflow_name"),
        ({"parent_run_id": "a b"}, "parent_run_id"),
        ({"created_after": dt.datetime(2030, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)}, "created_after"),
        ({"created_before": "yesterday"}, "created_before"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "MTIz"}, "cursor"),
        ({"cursor": "\u00fc"}, "cursor"),
        ({"cursor": 7}, "cursor"),
        ({"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5IGE"}, "cursor"),
    ],
)
async def test_what_cannot_be_listed_is_refused_and_the_field_named(client: AsyncClient, options: Any, field: str):
    # trap 40
    with pytest.raises(ValidationError) as refused:
        await client.workflow.get_runs(**options)
    assert refused.value.field == field


async def test_a_cursor_with_one_character_changed_or_of_another_list_is_refused(client: AsyncClient):
    # trap 40
    for number in range(4):
        await client.workflow.trigger("history-cursor", number, tags=["x"])
    cursor = (await client.workflow.get_runs("history-cursor", limit=2)).next_cursor
    assert cursor is not None
    assert len(await client.workflow.get_runs("history-cursor", limit=3, cursor=cursor, include=("input",))) == 2
    for other in ({"workflow_name": "other"}, {"workflow_name": "history-cursor", "tags": ["x"]}, {"status": "pending"}, {}):
        with pytest.raises(ValidationError, match="cursor"):
            await client.workflow.get_runs(**other, cursor=cursor)
    for place, character in enumerate(cursor):
        changed = cursor[:place] + ("A" if character != "A" else "B") + cursor[place + 1 :]
        with pytest.raises(ValidationError, match="cursor"):
            await client.workflow.get_runs("history-cursor", cursor=changed)


@cases("text", ["x') OR '1'='1", "%", "_", '"', "\\", "a'--", "history-%"])
async def test_names_are_compared_as_they_are(client: AsyncClient, text: str):
    # trap 40
    await client.workflow.trigger("history-literal", tags=["x"])
    assert len(await client.workflow.get_runs(text)) == 0
    assert len(await client.workflow.get_runs(tags=[text])) == 0
    run = await client.workflow.trigger(text, tags=[text])
    assert [found.run_id for found in await client.workflow.get_runs(text, tags=[text])] == [run.run_id]


# -- why


async def test_why_says_in_a_sentence_what_a_run_waits_for(client: AsyncClient):
    # promise 13
    @workflow("history-why")
    async def wf(ctx, input):
        if input == "sleep":
            await ctx.sleep("1h")
        elif input == "signal":
            await ctx.wait_for_signal("approval")
        elif input == "step":
            await step("hang", asyncio.Event().wait)()
        elif input == "fail":
            raise ValueError("for why")

    assert "No live worker" in await client.workflow.why((await client.workflow.trigger("history-unknown")).run_id)
    async with client.worker(wf):
        for kind, word in (("sleep", "sleeps until"), ("signal", "'approval'")):
            run = await client.workflow.trigger(wf, kind)
            await waits_for(client, run.run_id, kind)
            assert word in await client.workflow.why(run.run_id)
            await client.workflow.cancel(run.run_id)
        assert "cancelled" in await client.workflow.why(run.run_id)
        run = await client.workflow.trigger(wf, "step")
        await seen(client, run.run_id, "step_started")
        assert "executed by node" in await client.workflow.why(run.run_id)
        await client.workflow.cancel(run.run_id)
        run = await ran(client, wf, "fail")
        assert "for why" in await client.workflow.why(run.run_id)
        run = await ran(client, wf)
        assert "completed" in await client.workflow.why(run.run_id)
        run = await client.workflow.trigger(wf, delay="1h")
        assert "until" in await client.workflow.why(run.run_id)


async def test_a_run_behind_others_is_said_to_wait_for_room(client: AsyncClient):
    # promise 13
    entered, release = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        entered.set()
        await release.wait()

    @workflow("history-room")
    async def wf(ctx):
        await step("hang", hang)()

    async with client.worker(wf, concurrency=1):
        first = await client.workflow.trigger(wf)
        await entered.wait()
        second = await client.workflow.trigger(wf)
        assert "worker with room" in await client.workflow.why(second.run_id)
        release.set()
        for run in (first, second):
            await client.workflow.wait(run.run_id, PATIENCE_S)


# -- wait and result


async def test_waiting_for_a_run_that_takes_longer_is_a_time_out(client: AsyncClient):
    run = await client.workflow.trigger("history-nobody")
    for call in (
        client.workflow.wait(run.run_id, 0.01),
        client.workflow.result(run.run_id, "10ms"),
        client.workflow.wait(run.run_id, 0),
    ):
        with pytest.raises(TimeoutError, match=run.run_id):
            await call


async def test_a_result_takes_a_run_or_its_id(client: AsyncClient):
    async with client.worker(echo):
        run = await client.workflow.trigger(echo, 5)
        assert await client.workflow.result(run, PATIENCE_S) == 5
        assert await client.workflow.result(run.run_id) == 5


# -- stats


@pytest.mark.parametrize("settings", [Settings()], ids=["default"])
async def test_stats_count_runs_by_status(client: AsyncClient):
    await client.workflow.trigger("history-nobody")
    cancelled = await client.workflow.trigger("history-nobody")
    await client.workflow.cancel(cancelled.run_id)
    await executed(client, echo)
    stats = await client.workflow.stats()
    assert stats.runs == {"pending": 1, "running": 0, "paused": 0, "completed": 1, "failed": 0, "cancelled": 1}
    assert stats.claimable == 1
    assert stats.nodes >= 1


async def test_the_run_of_a_list_is_the_run_of_a_get_but_for_its_values(client: AsyncClient):
    run: Run[Any] = await executed(client, echo, 1, tags=["x"], idempotency_key="k", priority=2)
    (listed,) = await client.workflow.get_runs(echo, include=("input", "output"))
    assert listed == await client.workflow.get_run(run.run_id)
