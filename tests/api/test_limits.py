"""The circuit breaker: how many events a run may have, and how long it may take."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from stepwell import AsyncClient, ConflictError, Context, RunFailed, Settings, StepFailed, step, workflow
from tests.api.tools import events_of, executed, ran, seen, types_of, until, waits_for
from tests.clients import PATIENCE_S
from tests.moved import MovedClock

calls: list[int] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


async def body(number: int = 0) -> int:
    calls.append(number)
    return number


@workflow("limits-steps")
async def steps(ctx: Context, input: Any) -> int:
    for number in range(input):
        await step("body", body)(number)
    return len(calls)


# -- max_events


@pytest.mark.parametrize("max_events", [3, 4, 5, 10])
async def test_event_number_max_events_is_always_a_final_one(client: AsyncClient, max_events: int):
    # promise 10
    run = await executed(client, steps, 100, max_events=max_events)
    assert (run.status, run.event_count, run.max_events) == ("failed", max_events, max_events)
    assert run.error is not None
    assert "MaxEventsError" in run.error
    assert str(max_events) in run.error
    assert (await types_of(client, run.run_id))[-1] == "run_failed"
    assert len(calls) == max_events - 3, "no body ran whose outcome could not be recorded"


@pytest.mark.parametrize(("count", "status"), [(7, "completed"), (8, "failed")])
async def test_the_last_event_that_fits_is_used(client: AsyncClient, count: int, status: str):
    # promise 10: created, started, 7 steps and the end are ten
    run = await executed(client, steps, count, max_events=10)
    assert (run.status, run.event_count) == (status, 10)
    assert len(calls) == 7


@pytest.mark.parametrize("limit", [None, 1, 4])
async def test_branches_at_once_fill_the_history_exactly(client: AsyncClient, limit: int | None):
    # promise 10
    @workflow("limits-parallel")
    async def wf(ctx):
        await ctx.map(step("body", body), range(50), limit=limit)

    run = await executed(client, wf, max_events=20)
    assert (run.status, run.event_count) == ("failed", 20)
    assert run.error is not None
    assert "20" in run.error
    assert len(calls) == 17


async def test_branches_at_once_that_just_fit_complete(client: AsyncClient):
    # promise 10
    @workflow("limits-parallel-fit")
    async def wf(ctx):
        return await ctx.map(step("body", body), range(17))

    run = await executed(client, wf, max_events=20)
    assert (run.status, run.event_count) == ("completed", 20)


async def test_a_workflow_that_catches_everything_cannot_go_on(client: AsyncClient):
    @workflow("limits-stubborn", max_events=6)
    async def wf(ctx):
        for _ in range(100):
            try:
                await step("body", body)()
            except BaseException:
                continue

    run = await executed(client, wf)
    assert (run.status, run.event_count) == ("failed", 6)


async def test_sleeps_signals_and_retries_count_too(client: AsyncClient):
    async def fail() -> None:
        raise ValueError("no")

    @workflow("limits-kinds")
    async def wf(ctx, input):
        while True:
            if input == "sleep":
                await ctx.sleep("1ms")
            elif input == "signal":
                await ctx.wait_for_signal("n")
            else:
                await step("fail", fail, retries=1_000, retry_delay=0)()

    async with client.worker(wf):
        for kind in ("sleep", "retry"):
            run = await ran(client, wf, kind, max_events=12)
            assert (run.status, run.event_count) == ("failed", 12)
            assert "MaxEventsError" in (run.error or "")
        run = await client.workflow.trigger(wf, "signal", max_events=12)
        for number in range(30):
            try:
                await client.workflow.send_signal(run.run_id, "n", number)
            except ConflictError:
                break
        over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert (over.status, over.event_count) == ("failed", 12)


async def test_events_from_outside_are_refused_from_one_before_the_limit_on(client: AsyncClient):
    # promise 10
    @workflow("limits-outside")
    async def wf(ctx):
        return await ctx.wait_for_signal("go")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf, max_events=6)
        await waits_for(client, run.run_id, "signal")
        for number in range(3):
            assert (await client.workflow.emit_event(run.run_id, "note", number)).seq == 3 + number
        with pytest.raises(ConflictError, match="max_events"):
            await client.workflow.emit_event(run.run_id, "note", 3)
        await client.workflow.send_signal(run.run_id, "go")
        over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert (over.status, over.event_count) == ("failed", 6)


async def test_the_limit_of_a_trigger_is_above_that_of_the_workflow_and_that_above_the_settings(client: AsyncClient):
    @workflow("limits-levels", max_events=7)
    async def wf(ctx):
        return None

    async with client.worker(wf):
        assert (await ran(client, wf, max_events=9)).max_events == 9
        assert (await ran(client, wf)).max_events == 7
        assert (await ran(client, "limits-levels")).max_events == 7


@pytest.mark.parametrize("settings", [Settings(max_events=5)], ids=["five"])
async def test_the_settings_bound_runs_of_workflows_that_say_nothing(client: AsyncClient):
    run = await executed(client, steps, 100)
    assert (run.status, run.event_count, run.max_events) == ("failed", 5, 5)


# -- execution_timeout


async def test_a_run_that_takes_too_long_fails_and_its_step_is_cancelled(client: AsyncClient):
    # promise 10
    cancelled: list[bool] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    @workflow("limits-timeout", execution_timeout="1s")
    async def wf(ctx):
        await step("hang", hang)()

    run = await executed(client, wf)
    assert run.status == "failed"
    assert run.execution_timeout == 1_000
    assert run.error is not None
    assert "timeout" in run.error
    assert "ExecutionTimeoutError" in run.error
    assert cancelled == [True]
    assert run.completed_at is not None
    assert run.started_at is not None
    assert run.completed_at - run.started_at >= dt.timedelta(milliseconds=50)


@pytest.mark.parametrize("settings", [Settings(), Settings(keep_ms=0)], ids=["kept", "evicted"])
@pytest.mark.parametrize("wait", ["sleep", "signal", "retry"])
async def test_waiting_counts_toward_the_execution_timeout(client: AsyncClient, wait: str):
    # promise 10
    async def fail() -> None:
        raise ValueError("no")

    @workflow("limits-waiting")
    async def wf(ctx):
        if wait == "sleep":
            await ctx.sleep("1h")
        elif wait == "signal":
            await ctx.wait_for_signal("never")
        else:
            await step("fail", fail, retries=1, retry_delay="1h")()

    run = await executed(client, wf, execution_timeout="60ms")
    assert run.status == "failed"
    assert "ExecutionTimeoutError" in (run.error or "")


async def test_the_deadline_holds_while_nobody_executes_the_run(client: AsyncClient):
    # promise 10
    @workflow("limits-nobody")
    async def wf(ctx):
        await step("body", body)()
        await ctx.wait_for_signal("never")

    @workflow("limits-other")
    async def other(ctx):
        return None

    async with client.worker(wf):
        run = await client.workflow.trigger(wf, execution_timeout="1s")
        await seen(client, run.run_id, "step_completed")
    async with client.worker(other):  # a node that knows nothing of this workflow ends its runs all the same
        over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert over.status == "failed"
    assert "ExecutionTimeoutError" in (over.error or "")


async def test_a_worker_that_comes_after_the_deadline_starts_no_body(client: AsyncClient):
    # promise 10
    @workflow("limits-late")
    async def wf(ctx):
        await ctx.wait_for_signal("go")
        await step("body", body)()

    async with client.worker(wf):
        run = await client.workflow.trigger(wf, execution_timeout="1s")
        await waits_for(client, run.run_id, "signal")
    await client.workflow.send_signal(run.run_id, "go")
    deadline = run.created_at + dt.timedelta(milliseconds=1050)

    async def is_past() -> bool:
        return dt.datetime.now(dt.UTC) > deadline

    await until(is_past)
    async with client.worker(wf):
        assert (await client.workflow.wait(run.run_id, PATIENCE_S)).status == "failed"
    assert calls == []


@pytest.mark.parametrize("settings", [Settings(poll_ms=3_600_000)], ids=["no polls"])
async def test_the_deadline_of_a_run_that_was_paused_is_kept_to_without_a_look_at_the_store(client: AsyncClient):
    # promise 10
    @workflow("limits-paused")
    async def wf(ctx):
        await ctx.wait_for_signal("never")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf, execution_timeout="1s")
        await waits_for(client, run.run_id, "signal")
        await client.workflow.pause(run.run_id)
        over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert over.status == "failed"
    assert "ExecutionTimeoutError" in (over.error or "")
    assert "run_paused" in await types_of(client, run.run_id)


async def test_the_time_before_the_first_start_does_not_count(client: AsyncClient):
    # promise 10
    @workflow("limits-queued", execution_timeout="1h")
    async def wf(ctx):
        return "in time"

    run = await client.workflow.trigger(wf, execution_timeout="200ms")
    soon = run.created_at + dt.timedelta(milliseconds=250)

    async def is_past() -> bool:
        return dt.datetime.now(dt.UTC) > soon

    await until(is_past)
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "in time"


async def test_a_workflow_cannot_catch_the_end_of_its_time(client: AsyncClient):
    @workflow("limits-catch", execution_timeout="50ms")
    async def wf(ctx):
        for _ in range(100):
            try:
                await ctx.sleep("1h")
            except BaseException:
                continue

    run = await executed(client, wf)
    assert "ExecutionTimeoutError" in (run.error or "")


async def test_the_result_of_a_run_over_its_limit_is_run_failed_with_its_kind(client: AsyncClient):
    async with client.worker(steps):
        run = await client.workflow.trigger(steps, 10, max_events=5)
        with pytest.raises(RunFailed, match="max_events") as failed:
            await client.workflow.result(run.run_id, PATIENCE_S)
    assert failed.value.run.run_id == run.run_id
    assert failed.value.type.endswith("MaxEventsError")
    assert not isinstance(failed.value, StepFailed)


async def test_a_run_that_is_in_time_is_left_alone(client: AsyncClient):
    run = await executed(client, steps, 3, execution_timeout="1h")
    assert (run.status, run.execution_timeout) == ("completed", 3_600_000)
    assert await events_of(client, run.run_id, "run_failed") == []


@workflow("limits-unnoticed", execution_timeout=10_000)
async def unnoticed(ctx: Context) -> None:
    await step("first", lambda: _late.pass_through())()
    await step("second", body)()


class _Late:
    """A body that takes as long as a test wants."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def pass_through(self) -> None:
        self.begun.set()
        await self.may_end.wait()


_late = _Late()


async def test_no_body_begins_after_the_deadline_even_if_nobody_has_noticed_it():
    # promise 2: others may have failed the run, and retried it, by then.
    clock = MovedClock()
    async with AsyncClient("memory://", clock=clock) as client, client.worker(unnoticed):
        run = await client.workflow.trigger(unnoticed)
        await _late.begun.wait()
        clock.leap(10_000)
        _late.may_end.set()
        over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert over.status == "failed"
    assert "timeout" in (over.error or "")
    assert calls == []


@workflow("limits-waits", execution_timeout=10_000)
async def waits(ctx: Context) -> Any:
    return await ctx.wait_for_signal("go")


async def test_a_run_that_is_taken_up_after_its_deadline_fails_though_it_has_only_to_return():
    # promise 10
    clock = MovedClock()
    async with AsyncClient("memory://", clock=clock) as client:
        run = await client.workflow.trigger(waits)
        async with client.worker(waits):
            await seen(client, run.run_id, "run_started")
        clock.advance(10_000)
        await client.workflow.send_signal(run.run_id, "go")
        async with client.worker(waits):
            over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert over.status == "failed"
    assert "timeout" in (over.error or "")
