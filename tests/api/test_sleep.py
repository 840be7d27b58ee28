"""Durable sleeps: never early, and they cost nothing."""

import datetime as dt
import math
from typing import Any

import pytest

from stepwell import AsyncClient, InvalidDurationError, Settings, ValidationError, step, workflow
from tests.api.tools import cases, events_of, executed, ran, seen, types_of, until, waits_for
from tests.clients import PATIENCE_S

KEPT, EVICTED = Settings(waiting_shown_ms=1), Settings(keep_ms=0, waiting_shown_ms=1)
either = pytest.mark.parametrize("settings", [KEPT, EVICTED], ids=["kept", "evicted"])


NAIVE = dt.datetime(2030, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)


def asleep(events: list[Any]) -> float:
    """Return how long a recorded sleep took, in milliseconds."""
    started, completed = events
    return (completed.created_at - started.created_at) / dt.timedelta(milliseconds=1)


@either
@pytest.mark.parametrize(
    ("duration", "at_least_ms"),
    [("50ms", 50), ("0.05s", 50), (0.05, 50), (dt.timedelta(milliseconds=50), 50), (1000, 1000), ("1s1ms", 1001)],
)
async def test_a_sleep_is_never_early(client: AsyncClient, duration: Any, at_least_ms: int):
    # promise 7
    @workflow("sleep-duration")
    async def wf(ctx):
        await ctx.sleep(duration)

    run = await executed(client, wf)
    started, completed = (await client.workflow.get_events(run.run_id))[2:4]
    assert (started.event_type, completed.event_type) == ("sleep_started", "sleep_completed")
    assert asleep([started, completed]) >= at_least_ms
    until_at = dt.datetime.fromisoformat(started.payload["until"])
    assert (until_at - started.created_at) / dt.timedelta(milliseconds=1) == at_least_ms
    assert completed.created_at >= until_at


@cases("duration", [0, 0.0, "0s", "0ms", dt.timedelta(0)])
async def test_a_sleep_of_nothing_returns_at_once_and_costs_no_event(client: AsyncClient, duration: Any):
    # trap 24
    @workflow("sleep-zero")
    async def wf(ctx):
        await ctx.sleep(duration)
        return "awake"

    run = await executed(client, wf)
    assert (run.output, run.event_count) == ("awake", 3)


@cases(
    "duration",
    [
        -1, -0.1, math.nan, math.inf, -math.inf, 1e300, "1e3s", "-1s", "", " 1s", "1 s", "1", "1s ", "s", "1.s", ".5s", "1w",
        "1s2", "\N{ARABIC-INDIC DIGIT ONE}s", None, True, [], {}, dt.timedelta(seconds=-1), dt.timedelta.max, "9" * 200 + "s",
        10**400,
    ],
)  # fmt: skip
async def test_what_is_no_duration_is_refused_with_the_forms_that_are(client: AsyncClient, duration: Any):
    # trap 24, promise 14
    @workflow("sleep-bad")
    async def wf(ctx):
        with pytest.raises(InvalidDurationError) as refused:
            await ctx.sleep(duration)
        return str(refused.value)

    run = await executed(client, wf)
    assert run.status == "completed"
    assert run.event_count == 3
    if "too long" not in run.output:
        assert '"1h30m"' in run.output


@cases(("number", "ms"), [(999, 999_000), (1000, 1000), (999.9, 999_900), (1000.5, 1001), (5000, 5000)])
async def test_a_bare_number_is_milliseconds_from_1000_upward_and_seconds_below(client: AsyncClient, number: float, ms: int):
    # trap 24
    @workflow("sleep-bare")
    async def wf(ctx):
        await ctx.sleep(number)

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        started = await seen(client, run.run_id, "sleep_started")
        await client.workflow.cancel(run.run_id)
    until_at = dt.datetime.fromisoformat(started.payload["until"])
    assert (until_at - started.created_at) / dt.timedelta(milliseconds=1) == ms


@either
async def test_sleep_until_a_time(client: AsyncClient):
    # promise 7
    when = dt.datetime.now(dt.timezone(dt.timedelta(hours=5))) + dt.timedelta(milliseconds=700)

    @workflow("sleep-until")
    async def wf(ctx):
        await ctx.sleep_until(when)

    run = await executed(client, wf)
    (completed,) = await events_of(client, run.run_id, "sleep_completed")
    assert completed.created_at >= when


async def test_sleep_until_the_past_returns_at_once(client: AsyncClient):
    @workflow("sleep-past")
    async def wf(ctx):
        for when in (dt.datetime(1969, 1, 1, tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=dt.UTC), ctx.now()):
            await ctx.sleep_until(when)
        return "awake"

    run = await executed(client, wf)
    assert (run.output, run.event_count) == ("awake", 3)


@cases("when", [NAIVE, "2030-01-01T00:00:00Z", 1_900_000_000, None, dt.date(2030, 1, 1)])
async def test_sleep_until_what_is_no_aware_time_is_refused(client: AsyncClient, when: Any):
    # trap 24
    @workflow("sleep-naive")
    async def wf(ctx):
        with pytest.raises(ValidationError, match="time zone"):
            await ctx.sleep_until(when)
        return "refused"

    assert (await executed(client, wf)).output == "refused"


async def test_a_sleep_to_the_end_of_the_calendar_is_shown_and_can_be_cancelled(client: AsyncClient):
    when = dt.datetime.max.replace(tzinfo=dt.UTC, microsecond=0)

    @workflow("sleep-calendar")
    async def wf(ctx):
        await ctx.sleep_until(when)

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        waiting = (await waits_for(client, run.run_id, "sleep")).waiting_for
        assert waiting is not None
        assert waiting.until == when
        assert (await client.workflow.cancel(run.run_id)).status == "cancelled"


async def test_a_sleeping_run_is_running_and_says_until_when(client: AsyncClient):
    # promise 13
    @workflow("sleep-shown")
    async def wf(ctx):
        await ctx.sleep("1h")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        shown = await waits_for(client, run.run_id, "sleep")
        assert shown.status == "running"
        started = await seen(client, run.run_id, "sleep_started")
        assert shown.waiting_for is not None
        assert shown.waiting_for.until == dt.datetime.fromisoformat(started.payload["until"])
        assert "sleeps until" in await client.workflow.why(run.run_id)
    assert (await waits_for(client, run.run_id, "sleep")).waiting_for == shown.waiting_for, "also without a worker"
    await client.workflow.cancel(run.run_id)


async def test_a_restart_does_not_begin_a_sleep_again(client: AsyncClient):
    @workflow("sleep-restart")
    async def wf(ctx):
        await ctx.sleep("250ms")
        return "awake"

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        started = await seen(client, run.run_id, "sleep_started")
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "awake"
    (completed,) = await events_of(client, run.run_id, "sleep_completed")
    assert len(await events_of(client, run.run_id, "sleep_started")) == 1
    assert completed.created_at >= dt.datetime.fromisoformat(started.payload["until"])


async def test_a_sleep_that_ended_while_no_worker_lived_is_over_when_one_comes(client: AsyncClient):
    # promise 7, trap 25
    @workflow("sleep-missed")
    async def wf(ctx):
        await ctx.sleep("50ms")
        return "awake"

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        started = await seen(client, run.run_id, "sleep_started")
    due = dt.datetime.fromisoformat(started.payload["until"])

    async def is_past() -> bool:
        return dt.datetime.now(dt.UTC) > due

    await until(is_past)
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "awake"


@either
async def test_many_runs_due_at_once_all_wake(client: AsyncClient):
    @workflow("sleep-many")
    async def wf(ctx, input):
        await ctx.sleep("100ms")
        return input

    async with client.worker(wf):
        runs = [await client.workflow.trigger(wf, number) for number in range(100)]
        assert [await client.workflow.result(run.run_id, PATIENCE_S) for run in runs] == list(range(100))


async def test_a_loop_of_sleeps_and_steps_is_recorded_in_order(client: AsyncClient):
    @workflow("sleep-loop")
    async def wf(ctx):
        for _ in range(3):
            await step("call", lambda: None)()
            await ctx.sleep("2ms")

    async with client.worker(wf):
        run = await ran(client, wf)
    assert (await types_of(client, run.run_id))[2:-1] == ["step_completed", "sleep_started", "sleep_completed"] * 3
