"""More to record at once than one frame may carry: it goes in several, each a commit, in the order in which it happened."""

import asyncio

import pytest

from stepwell import AsyncClient, Context, RunFailed, SignalTimeout, step, workflow
from tests.api.tools import events_of, types_of
from tests.clients import PATIENCE_S
from tests.remote.test_lost_connections import PATIENT

MANY = 4_500
SIGNALS = 2_500


@pytest.fixture
def limits() -> dict[str, int]:
    return PATIENT


@step("number")
async def number(n: int) -> int:
    return n


@workflow("long-parallel")
async def parallel(ctx: Context) -> int:
    return sum(await ctx.parallel([lambda n=n: number(n) for n in range(MANY)]))


@workflow("long-mail", max_events=20_000)
async def mail(ctx: Context) -> list[int]:
    return [await ctx.wait_for_signal("n") for _ in range(SIGNALS)]


@workflow("long-time-outs", max_events=20_000)
async def time_outs(ctx: Context) -> int:
    async def wait(n: int) -> int:
        try:
            await ctx.wait_for_signal(f"s{n}", "200ms")
        except SignalTimeout:
            return 1
        return 0

    return sum(await ctx.parallel([lambda n=n: wait(n) for n in range(MANY)]))


async def test_thousands_of_steps_that_end_at_once(direct: AsyncClient):
    async with direct.worker(parallel):
        run = await direct.workflow.trigger(parallel)
        assert await direct.workflow.result(run, PATIENCE_S) == sum(range(MANY))
    types = await types_of(direct, run.run_id)
    assert types == ["run_created", "run_started", *["step_completed"] * MANY, "run_completed"]


async def test_thousands_of_signals_that_were_there_before(direct: AsyncClient):
    # promise 6
    run = await direct.workflow.trigger(mail)
    for start in range(0, SIGNALS, 100):
        signals = (direct.workflow.send_signal(run.run_id, "n", n) for n in range(start, start + 100))
        await asyncio.gather(*signals)
    async with direct.worker(mail):
        received = await direct.workflow.result(run, PATIENCE_S)
    assert sorted(received) == list(range(SIGNALS))
    assert [event.payload["payload"] for event in await events_of(direct, run.run_id, "signal_received")] == received


async def test_thousands_of_waits_that_time_out_at_once(direct: AsyncClient):
    async with direct.worker(time_outs):
        assert await direct.workflow.execute(time_outs, timeout=PATIENCE_S) == MANY


async def test_a_history_that_is_full_in_the_midst_of_it(direct: AsyncClient):
    # promise 10
    async with direct.worker(parallel):
        run = await direct.workflow.trigger(parallel, max_events=3_000)
        with pytest.raises(RunFailed, match="3000"):
            await direct.workflow.result(run, PATIENCE_S)
    types = await types_of(direct, run.run_id)
    assert types == ["run_created", "run_started", *["step_completed"] * 2_997, "run_failed"]


async def test_thousands_of_steps_that_are_undone_because_the_history_is_full(direct: AsyncClient):
    # promise 3: the first compensation rests on all that was recorded before
    @workflow("long-undone", max_events=2_200)
    async def wf(ctx: Context) -> None:
        made = step("made", number, compensate=number)
        await ctx.parallel([lambda n=n: made(n) for n in range(3_000)])

    types: list[str] = []
    async with direct.worker(wf):
        run = await direct.workflow.trigger(wf)
        async for event in direct.workflow.stream_events(run.run_id):
            types.append(event.event_type)
            if event.event_type == "compensation_completed":
                break
    assert types.count("step_completed") == 2_197
    assert types.count("compensation_started") == 1
