"""Changing a run's tags, priority and limits, whoever executes it."""

import asyncio

import pytest

from stepwell import AsyncClient, ConflictError, Context, NotFoundError, Settings, ValidationError, step, workflow
from tests.api.tools import executed, seen, waits_for
from tests.clients import PATIENCE_S


@workflow("updated-waiting")
async def waiting(ctx: Context) -> list[str]:
    await ctx.wait_for_signal("go")
    return list(ctx.tags)


@workflow("updated-steps")
async def steps(ctx: Context, input: int) -> int:
    for number in range(input):
        await step("one", abs)(number)
    return input


async def test_what_is_given_replaces_what_the_run_has_and_the_rest_stays(client: AsyncClient):
    run = await client.workflow.trigger(waiting, tags=["old"], priority=1, max_events=50, execution_timeout="1h")
    changed = await client.workflow.update_run(run.run_id, tags=["a", "b"])
    assert (changed.tags, changed.priority, changed.max_events, changed.execution_timeout) == (["a", "b"], 1, 50, 3_600_000)
    changed = await client.workflow.update_run(run.run_id, priority=5, max_events=60, execution_timeout="2h")
    assert changed == await client.workflow.get_run(run.run_id)
    assert (changed.tags, changed.priority, changed.max_events, changed.execution_timeout) == (["a", "b"], 5, 60, 7_200_000)
    assert [found.run_id for found in await client.workflow.get_runs(tags=["a"])] == [run.run_id]
    assert await client.workflow.update_run(run.run_id, tags=[]) != changed


async def test_who_waits_is_told_of_the_run_as_it_has_become(client: AsyncClient):
    @workflow("updated-with-state")
    async def wf(ctx: Context) -> int:
        await ctx.set_state({"n": 1})
        return await ctx.wait_for_signal("go")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf, [1], tags=["old"], priority=1)
        over = asyncio.create_task(client.workflow.wait(run.run_id, PATIENCE_S))
        await waits_for(client, run.run_id, "signal")
        await client.workflow.update_run(run.run_id, tags=["new"], priority=2)
        await client.workflow.send_signal(run.run_id, "go", 7)
        ended = await over
    assert ended == await client.workflow.get_run(run.run_id)
    assert (ended.status, ended.input, ended.output, ended.state) == ("completed", [1], 7, {"n": 1})
    assert (ended.tags, ended.priority) == (["new"], 2)


async def test_ctx_tags_stay_what_the_trigger_gave(client: AsyncClient):
    # promise 5
    run = await client.workflow.trigger(waiting, tags=["old"])
    await client.workflow.update_run(run.run_id, tags=["new"])
    await client.workflow.send_signal(run.run_id, "go")
    async with client.worker(waiting):
        assert await client.workflow.result(run, PATIENCE_S) == ["old"]


async def test_a_higher_priority_lets_a_waiting_run_go_first(client: AsyncClient):
    order: list[str] = []

    @workflow("updated-order")
    async def wf(ctx):
        order.append(ctx.run_id)

    for name in ("first", "second", "third"):
        await client.workflow.trigger(wf, run_id=name)
    await client.workflow.update_run("third", priority=10)
    async with client.worker(wf):
        await client.workflow.wait("second", PATIENCE_S)
    assert order[0] == "third"


async def test_a_run_gets_more_room_while_it_is_executed(client: AsyncClient):
    # promise 10
    @workflow("updated-room", max_events=5)
    async def wf(ctx):
        await step("first", lambda: 0)()
        await ctx.wait_for_signal("go")
        for _ in range(5):
            await step("one", lambda: 1)()
        return "enough"

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, "signal")
        await client.workflow.update_run(run.run_id, max_events=10)
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run, PATIENCE_S) == "enough"
        assert (await client.workflow.get_run(run.run_id)).event_count == 10


async def test_a_run_cannot_get_less_room_than_it_has_used(client: AsyncClient):
    # promise 10
    async with client.worker(waiting):
        run = await client.workflow.trigger(waiting)
        await waits_for(client, run.run_id, "signal")
        for _ in range(2):
            await client.workflow.emit_event(run.run_id, "mine", None)
        with pytest.raises(ConflictError, match="has 4 events already"):
            await client.workflow.update_run(run.run_id, max_events=4)
        await client.workflow.update_run(run.run_id, max_events=5)
        with pytest.raises(ConflictError, match="max_events"):
            await client.workflow.emit_event(run.run_id, "mine", None)


@pytest.mark.parametrize(
    "settings", [Settings(waiting_shown_ms=1), Settings(waiting_shown_ms=1, keep_ms=0)], ids=["kept", "evicted"]
)
async def test_a_new_deadline_holds_for_a_run_that_waits(client: AsyncClient):
    # promise 10
    async with client.worker(waiting):
        without = await client.workflow.trigger(waiting)
        longer = await client.workflow.trigger(waiting, execution_timeout="1h")
        for run in (without, longer):
            await waits_for(client, run.run_id, "signal")
            await client.workflow.update_run(run.run_id, execution_timeout=100)
        for run in (without, longer):
            ended = await client.workflow.wait(run.run_id, PATIENCE_S)
            assert ended.error == "stepwell.errors.ExecutionTimeoutError: execution timeout of 100 ms is over"
            assert ended.completed_at is not None
            assert ended.started_at is not None
            assert (ended.completed_at - ended.started_at).total_seconds() >= 0.1


async def test_a_deadline_that_is_put_off_does_not_fail_the_run(client: AsyncClient):
    # promise 10
    async with client.worker(waiting):
        run = await client.workflow.trigger(waiting, execution_timeout=2_000)
        await waits_for(client, run.run_id, "signal")
        await client.workflow.update_run(run.run_id, execution_timeout="1h")
        await asyncio.sleep(2.1)
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run, PATIENCE_S) == []


async def test_a_paused_run_is_changed_as_well(client: AsyncClient):
    run = await client.workflow.trigger(waiting)
    await client.workflow.pause(run.run_id)
    assert (await client.workflow.update_run(run.run_id, execution_timeout="2h", tags=["t"])).tags == ["t"]
    await client.workflow.resume(run.run_id)
    await client.workflow.send_signal(run.run_id, "go")
    async with client.worker(waiting):
        await client.workflow.result(run, PATIENCE_S)


async def test_of_a_run_that_is_over_only_the_tags_may_change(client: AsyncClient):
    # promise 8
    run = await executed(client, steps, 2)
    assert (await client.workflow.update_run(run.run_id, tags=["seen"])).tags == ["seen"]
    for limits in ({"priority": 1}, {"max_events": 100}, {"execution_timeout": "1h"}, {"tags": ["no"], "max_events": 100}):
        with pytest.raises(ConflictError, match="only its tags"):
            await client.workflow.update_run(run.run_id, **limits)
    assert (await client.workflow.get_run(run.run_id)).tags == ["seen"]


async def test_what_makes_no_sense_is_refused(client: AsyncClient):
    # promise 14
    run = await client.workflow.trigger(waiting)
    for bad in ({}, {"max_events": 2}, {"max_events": True}, {"priority": "high"}, {"tags": "ab"}, {"execution_timeout": "soon"}):
        with pytest.raises(ValidationError):
            await client.workflow.update_run(run.run_id, **bad)
    with pytest.raises(NotFoundError):
        await client.workflow.update_run("nobody", tags=[])
    assert (await client.workflow.get_run(run.run_id)).updated_at == run.updated_at


async def test_another_process_hears_of_new_limits(file_url: str):
    async with AsyncClient(file_url) as one, AsyncClient(file_url) as other, one.worker(waiting):
        run = await one.workflow.trigger(waiting)
        await seen(other, run.run_id, "run_started")
        await other.workflow.update_run(run.run_id, execution_timeout=50)
        assert (await other.workflow.wait(run.run_id, PATIENCE_S)).status == "failed"
        assert await one.check_store() == []


async def test_a_run_changes_itself_once(client: AsyncClient):
    @workflow("updated-by-itself")
    async def wf(ctx):
        first = await client.workflow.update_run(ctx.run_id, tags=["halfway"])
        await ctx.sleep("1ms")
        return first.tags

    run = await executed(client, wf)
    assert (run.output, run.tags) == (["halfway"], ["halfway"])
