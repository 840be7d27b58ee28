"""Branches at once: ``ctx.parallel``, ``ctx.map``, ``gather``, task groups; and races."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepwell import AsyncClient, Context, SignalTimeout, StepFailed, ValidationError, step, workflow
from tests.api.tools import cases, events_of, executed, seen, types_of, waits_for
from tests.clients import PATIENCE_S


async def double(number: int) -> int:
    return 2 * number


async def two_steps(ctx: Context, number: int) -> int:
    one = await step("double", double)(number)
    return await step("double", double)(one)


async def test_results_come_in_order_from_awaitables_and_from_callables(client: AsyncClient):
    @workflow("parallel-order")
    async def wf(ctx):
        return [
            await ctx.parallel([step("double", double)(number) for number in range(5)]),
            await ctx.parallel([lambda number=number: step("double", double)(number) for number in range(5)]),
            await ctx.parallel([step("given", double, input=number) for number in range(5)]),
            await ctx.map(step("double", double), range(5)),
            await ctx.map(lambda number: two_steps(ctx, number), range(5), limit=2),
            await ctx.parallel([]),
        ]

    doubled = [0, 2, 4, 6, 8]
    run = await executed(client, wf)
    assert run.output == [doubled, doubled, doubled, doubled, [0, 4, 8, 12, 16], []]


async def test_a_limit_bounds_how_many_run_at_once(client: AsyncClient):
    running: list[int] = []
    peaks: list[int] = []

    async def body(number: int) -> None:
        running.append(number)
        peaks.append(len(running))
        await asyncio.sleep(0.001)
        running.remove(number)

    @workflow("parallel-limit")
    async def wf(ctx):
        await ctx.map(step("body", body), range(12), limit=3)

    assert (await executed(client, wf)).status == "completed"
    assert max(peaks) == 3
    assert len(peaks) == 12


async def test_without_a_limit_all_run_at_once(client: AsyncClient):
    together = asyncio.Barrier(20)

    async def body() -> int:
        return await together.wait() // 20

    @workflow("parallel-at-once")
    async def wf(ctx):
        return await ctx.parallel([step("meet", body)() for _ in range(20)])

    assert (await executed(client, wf)).output == [0] * 20


@cases("limit", [0, -1, 1.5, True, "2"])
async def test_a_limit_out_of_bounds_is_refused(client: AsyncClient, limit: Any):
    @workflow("parallel-bad-limit")
    async def wf(ctx):
        with pytest.raises(ValidationError, match="limit"):
            await ctx.parallel([step("double", double, input=1)], limit)
        return "refused"

    assert (await executed(client, wf)).output == "refused"


async def test_what_is_no_branch_is_refused(client: AsyncClient):
    @workflow("parallel-no-branch")
    async def wf(ctx):
        for run in (ctx.parallel([7]), ctx.race({"seven": 7})):
            with pytest.raises(TypeError, match="awaitable"):
                await run
        return "refused"

    assert (await executed(client, wf)).output == "refused"


async def test_all_branches_settle_before_the_first_error_in_branch_order_is_raised(client: AsyncClient):
    late, ended = asyncio.Event(), list[str]()

    async def fail_late() -> None:
        await late.wait()
        raise ValueError("first in order, last in time")

    async def fail_early() -> None:
        late.set()
        raise KeyError("last in order, first in time")

    async def work() -> None:
        await late.wait()
        ended.append("work")

    @workflow("parallel-errors")
    async def wf(ctx):
        try:
            await ctx.parallel([step("late", fail_late)(), step("work", work)(), step("early", fail_early)()])
        except StepFailed as error:
            return [error.step, [*ended], list(error.__notes__)]

    run = await executed(client, wf)
    assert run.output[:2] == ["late", ["work"]]
    (note,) = run.output[2]
    assert "early" in note
    assert "KeyError" in note


async def test_an_error_that_is_caught_in_its_branch_disturbs_nobody(client: AsyncClient):
    async def fail() -> None:
        raise ValueError("no")

    async def careful() -> str:
        try:
            return await step("fail", fail)()
        except StepFailed:
            return "caught"

    @workflow("parallel-caught")
    async def wf(ctx):
        return await ctx.parallel([careful, careful, step("double", double, input=1)])

    assert (await executed(client, wf)).output == ["caught", "caught", 2]


async def test_a_fan_out_of_thousand_steps_completes(client: AsyncClient):
    @workflow("parallel-thousand")
    async def wf(ctx):
        return sum(await ctx.map(step("double", double), range(1_000)))

    run = await executed(client, wf)
    assert (run.output, run.event_count) == (999_000, 1_003)


async def gathered(ctx: Context) -> list[Any]:
    return await asyncio.gather(*(two_steps(ctx, number) for number in range(3)))


async def task_group(ctx: Context) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(two_steps(ctx, number)) for number in range(3)]
    return [task.result() for task in tasks]


async def created_tasks(ctx: Context) -> list[Any]:
    tasks = [asyncio.create_task(two_steps(ctx, number)) for number in range(3)]
    return [await task for task in tasks]


async def in_parallel(ctx: Context) -> list[Any]:
    return await ctx.parallel([lambda number=number: two_steps(ctx, number) for number in range(3)])


async def nested(ctx: Context) -> list[Any]:
    async def inner(number: int) -> int:
        return sum(await asyncio.gather(two_steps(ctx, number), two_steps(ctx, 0)))

    return await ctx.map(inner, range(3))


SHAPES = [gathered, task_group, created_tasks, in_parallel, nested]


@cases("shape", SHAPES)
async def test_sequences_of_equal_names_replay_each_in_its_own_branch(
    client: AsyncClient, shape: Callable[[Context], Awaitable[list[Any]]]
):
    # promise 5, trap 18
    got: list[Any] = []

    @workflow("parallel-sequences")
    async def wf(ctx):
        got.append(await shape(ctx))
        await ctx.wait_for_signal("go")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, "signal")
    steps = [event.step_id for event in await events_of(client, run.run_id, "step_completed")]
    assert len(set(steps)) == len(steps)
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        assert (await client.workflow.wait(run.run_id, PATIENCE_S)).status == "completed"
    assert got == [[0, 4, 8]] * 2
    assert [event.step_id for event in await events_of(client, run.run_id, "step_completed")] == steps


async def test_a_parallel_that_is_cut_in_the_middle_goes_on_with_what_is_missing(client: AsyncClient):
    # promise 2
    calls: list[int] = []

    async def body(number: int) -> int:
        calls.append(number)
        return number

    async def branch(ctx: Context, number: int) -> int:
        result = await step("body", body)(number)
        if number % 2:
            result += await ctx.wait_for_signal(f"go-{number}")
        return result

    @workflow("parallel-cut")
    async def wf(ctx):
        return await ctx.map(lambda number: branch(ctx, number), range(6))

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_completed", 6)
    for number in (5, 1, 3):
        async with client.worker(wf):
            await client.workflow.send_signal(run.run_id, f"go-{number}", 10 * number)
            await seen(client, run.run_id, "signal_received", {5: 1, 1: 2, 3: 3}[number])
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [0, 11, 2, 33, 4, 55]
    assert sorted(calls) == [0, 1, 2, 3, 4, 5]


async def test_branches_that_wait_for_the_same_signal_get_one_each_and_the_same_on_replay(client: AsyncClient):
    # promise 5, promise 6
    got: list[Any] = []

    @workflow("parallel-signals")
    async def wf(ctx):
        got.append(await ctx.parallel([lambda: ctx.wait_for_signal("go") for _ in range(4)]))
        await ctx.wait_for_signal("end")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        for number in range(4):
            await client.workflow.send_signal(run.run_id, "go", number)
        await seen(client, run.run_id, "signal_received", 4)
        await waits_for(client, run.run_id, "signal")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "end")
        await client.workflow.wait(run.run_id, PATIENCE_S)
    assert sorted(got[-1]) == [0, 1, 2, 3]
    assert all(one == got[-1] for one in got)


async def test_waiting_on_several_things_shows_the_earliest_and_how_many_others(client: AsyncClient):
    @workflow("parallel-waiting")
    async def wf(ctx):
        await ctx.parallel([lambda: ctx.wait_for_signal("never"), lambda: ctx.sleep("2h"), lambda: ctx.sleep("1h")])

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        waiting = (await waits_for(client, run.run_id, "sleep")).waiting_for
        assert waiting is not None
        assert waiting.others == 2
        assert waiting.until is not None
        assert 3_000 < (waiting.until - run.created_at).total_seconds() < 4_000
        await client.workflow.cancel(run.run_id)


# -- races


async def test_the_first_of_a_race_is_returned_with_its_key(client: AsyncClient):
    @workflow("race-first")
    async def wf(ctx):
        return await ctx.race({"ok": ctx.wait_for_signal("ok"), "late": ctx.sleep("1h")})

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "sleep_started")
        await client.workflow.send_signal(run.run_id, "ok", "approved")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == ["ok", "approved"]
    assert await types_of(client, run.run_id) == [
        "run_created", "run_started", "sleep_started", "signal_received", "race_won", "race_won", "run_completed",
    ]  # fmt: skip


async def test_a_wait_that_lost_a_race_never_swallows_a_later_signal(client: AsyncClient):
    # promise 6
    @workflow("race-loser")
    async def wf(ctx):
        first = await ctx.race({"ok": lambda: ctx.wait_for_signal("ok"), "late": lambda: ctx.sleep("5ms")})
        await ctx.wait_for_signal("ready")
        return [first[0], await ctx.wait_for_signal("ok")]

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "race_won")
        await client.workflow.send_signal(run.run_id, "ok", "meant for the second")
        await client.workflow.send_signal(run.run_id, "ready")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == ["late", "meant for the second"]


async def test_a_race_is_replayed_with_the_same_winner(client: AsyncClient):
    # promise 5
    got: list[Any] = []
    calls: list[str] = []

    async def quick() -> str:
        calls.append("quick")
        return "quick"

    async def slow() -> str:
        calls.append("slow")
        await asyncio.sleep(0.02)
        return "slow"

    @workflow("race-replayed")
    async def wf(ctx):
        got.append(await ctx.race({"slow": step("slow", slow), "quick": step("quick", quick)}))
        await ctx.wait_for_signal("go")
        return "done"

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "race_won")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "done"
    assert got == [("quick", "quick")] * 2
    assert sorted(calls) == ["quick", "slow"]


async def test_the_error_of_the_first_is_the_races_error_and_keys_may_be_anything(client: AsyncClient):
    async def fail() -> None:
        raise ValueError("first to fail")

    @workflow("race-error")
    async def wf(ctx):
        try:
            await ctx.race({1: step("fail", fail), None: lambda: ctx.sleep("1h")})
        except StepFailed as error:
            return error.message

    assert (await executed(client, wf)).output == "first to fail"


async def test_a_race_of_nobody_is_refused(client: AsyncClient):
    @workflow("race-empty")
    async def wf(ctx):
        with pytest.raises(ValidationError, match="at least one"):
            await ctx.race({})
        return "refused"

    assert (await executed(client, wf)).output == "refused"


async def test_steps_of_a_branch_that_lost_do_not_start_any_more(client: AsyncClient):
    started: list[int] = []

    async def body(number: int) -> None:
        started.append(number)

    async def endless(ctx: Context) -> None:
        for number in range(1_000):
            await step("body", body)(number)
            await ctx.sleep("1ms")

    @workflow("race-stopped")
    async def wf(ctx):
        won, _ = await ctx.race({"endless": lambda: endless(ctx), "stop": lambda: ctx.wait_for_signal("stop")})
        before = len(started)
        await ctx.sleep("20ms")
        return [won, len(started) - before]

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_completed", 2)
        await client.workflow.send_signal(run.run_id, "stop")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == ["stop", 0]


async def test_a_signal_stored_before_the_time_out_is_over_beats_it(client: AsyncClient):
    @workflow("race-time-out")
    async def wf(ctx):
        await step("begin", double)(1)
        try:
            return await ctx.wait_for_signal("go", timeout="1ms")
        except SignalTimeout:
            return "timed out"

    run = await client.workflow.trigger(wf)
    await client.workflow.send_signal(run.run_id, "go", "in time")
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "in time"
