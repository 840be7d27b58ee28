"""Replay: the same results, times and random numbers; and what happens when the code has changed in between."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepwell import AsyncClient, Context, Run, Settings, StepFailed, Workflow, step, workflow
from tests.api.tools import events_of, seen, types_of, until, waits_for
from tests.clients import PATIENCE_S

calls: list[str] = []
"""The bodies that ran, in the test that is running."""


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def recorded(name: str, result: Any = None) -> Callable[..., Awaitable[Any]]:
    """Return a step that notes that it ran."""

    async def body(*args: Any) -> Any:
        calls.append(name)
        return result

    return step(name, body)


Body = Callable[[Context], Awaitable[Any]]


def deployed(body: Body) -> Workflow[Any, Any]:
    """Define the one workflow of this module with this code: what a deployment does."""

    @workflow("replay-deployed")
    async def wf(ctx: Context) -> Any:
        return await body(ctx)

    return wf


async def left_waiting(client: AsyncClient, body: Body) -> Run[Any]:
    """Return a run that a worker has executed with this code up to a wait for "go", and then handed back."""
    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, "signal")
    return run


async def misfits(client: AsyncClient, run: Run[Any], body: Body) -> str:
    """Execute a run with other code; return the error that it is shown with."""
    async with client.worker(deployed(body)):
        shown = await waits_for(client, run.run_id, "code")
        assert shown.status == "running"
        assert shown.error is not None
        assert "NonDeterminismError" in shown.error
        assert shown.error in await client.workflow.why(run.run_id)
        return shown.error


async def goes_on(client: AsyncClient, run: Run[Any], body: Body) -> Any:
    """Execute a run to its end and return its output."""
    async with client.worker(deployed(body)):
        await client.workflow.send_signal(run.run_id, "go")
        return await client.workflow.result(run.run_id, PATIENCE_S)


# -- the same again


async def test_times_random_numbers_and_ids_are_the_same_on_replay_and_cost_no_event(client: AsyncClient):
    # promise 5
    got: list[Any] = []

    async def body(ctx: Context) -> None:
        drawn = [ctx.now(), ctx.random().random(), ctx.random().random(), ctx.uuid4(), ctx.uuid4()]
        await recorded("one")()
        drawn += [ctx.now(), ctx.random().randint(0, 10**9), ctx.uuid4()]
        drawn += await ctx.parallel([lambda: other(ctx), lambda: other(ctx)])
        got.append(drawn)
        await ctx.wait_for_signal("go")

    async def other(ctx: Context) -> list[Any]:
        return [ctx.now(), ctx.random().random(), ctx.uuid4()]

    run = await left_waiting(client, body)
    before = await types_of(client, run.run_id)
    await goes_on(client, run, body)
    live, replayed = got
    assert live == replayed
    assert before == ["run_created", "run_started", "step_completed"]
    numbers = [value for value in live if isinstance(value, float)] + [value[1] for value in live[-2:]]
    assert len(set(numbers)) == len(numbers) == 4
    ids = [live[3], live[4], live[7], live[8][2], live[9][2]]
    assert len(set(ids)) == 5
    assert all(value.version == 4 for value in ids)


async def test_now_is_when_the_latest_operation_of_the_branch_ended(client: AsyncClient):
    times: list[dt.datetime] = []

    async def body(ctx: Context) -> None:
        times.append(ctx.now())
        await recorded("one")()
        times.append(ctx.now())
        await ctx.sleep("20ms")
        times.append(ctx.now())

    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        run = await client.workflow.wait(run.run_id, PATIENCE_S)
    (completed,) = await events_of(client, run.run_id, "step_completed")
    (awake,) = await events_of(client, run.run_id, "sleep_completed")
    assert times == [run.started_at, completed.created_at, awake.created_at]
    assert all(time.tzinfo == dt.UTC for time in times)


async def test_two_runs_draw_different_numbers(client: AsyncClient):
    async def body(ctx: Context) -> str:
        return str(ctx.uuid4())

    wf = deployed(body)
    async with client.worker(wf):
        runs = [await client.workflow.trigger(wf) for _ in range(3)]
        outputs = {await client.workflow.result(run.run_id, PATIENCE_S) for run in runs}
    assert len(outputs) == 3


async def test_the_clock_of_a_run_never_goes_backwards(client: AsyncClient):
    async def body(ctx: Context) -> None:
        for _ in range(20):
            await recorded("one")()

    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await client.workflow.wait(run.run_id, PATIENCE_S)
    times = [event.created_at for event in await client.workflow.get_events(run.run_id)]
    assert times == sorted(times)


# -- code that has changed, legally


async def test_a_step_that_was_added_runs_and_the_run_goes_on(client: AsyncClient):
    # trap 17
    async def before(ctx: Context) -> None:
        await recorded("one")()
        await recorded("two")()
        await ctx.wait_for_signal("go")

    async def after(ctx: Context) -> str:
        await recorded("zero")()
        await recorded("one")()
        await recorded("one and a half")()
        await recorded("two")()
        await recorded("two and a half")()
        await ctx.wait_for_signal("go")
        return "done"

    run = await left_waiting(client, before)
    assert await goes_on(client, run, after) == "done"
    assert calls == ["one", "two", "zero", "one and a half", "two and a half"]


async def test_steps_that_were_moved_keep_their_results(client: AsyncClient):
    # trap 17
    async def before(ctx: Context) -> Any:
        results = [await recorded("one", 1)(), await recorded("two", 2)()]
        await ctx.wait_for_signal("go")
        return results

    async def after(ctx: Context) -> Any:
        results = [await recorded("two", 2)(), await recorded("one", 1)()]
        await ctx.wait_for_signal("go")
        return results

    run = await left_waiting(client, before)
    assert await goes_on(client, run, after) == [2, 1]
    assert calls == ["one", "two"]


async def test_a_step_that_no_run_has_reached_may_be_removed(client: AsyncClient):
    async def before(ctx: Context) -> None:
        await recorded("one")()
        await ctx.wait_for_signal("go")
        await recorded("never reached")()

    async def after(ctx: Context) -> str:
        await recorded("one")()
        await ctx.wait_for_signal("go")
        return "done"

    run = await left_waiting(client, before)
    assert await goes_on(client, run, after) == "done"


# -- code that does not fit


async def with_one(ctx: Context) -> str:
    await recorded("one")(1)
    await ctx.wait_for_signal("go")
    return "done"


async def removed(ctx: Context) -> str:
    return "done"


async def other_arguments(ctx: Context) -> str:
    await recorded("one")(2)
    await ctx.wait_for_signal("go")
    return "done"


@pytest.mark.parametrize(
    ("change", "words"),
    [(removed, ["'one'", "the end of the workflow"]), (other_arguments, ["'one'", "fingerprint", "test_replay.py:"])],
)
async def test_code_that_does_not_fit_waits_for_code_that_does(
    client: AsyncClient, change: Body, words: list[str], caplog: pytest.LogCaptureFixture
):
    # promise 5, trap 17
    run = await left_waiting(client, with_one)
    before = await client.workflow.get_events(run.run_id)
    text = await misfits(client, run, change)
    for word in words:
        assert word in text
    assert await client.workflow.get_events(run.run_id) == before, "the run is unharmed"
    assert any(record.levelno >= logging.ERROR and run.run_id in record.message for record in caplog.records)
    assert await goes_on(client, run, with_one) == "done"
    assert calls == ["one"]
    assert (await client.workflow.get_run(run.run_id)).error is None


async def test_a_step_that_was_renamed_is_noticed_at_the_end(client: AsyncClient):
    # promise 5, trap 17
    async def short(ctx: Context) -> str:
        await recorded("uno")(1)
        return "done"

    run = await left_waiting(client, with_one)
    text = await misfits(client, run, short)
    assert "'one'" in text
    assert await goes_on(client, run, with_one) == "done"
    assert calls.count("one") == 1


async def test_a_step_that_became_another_kind_of_operation_is_noticed(client: AsyncClient):
    async def before(ctx: Context) -> None:
        await ctx.sleep("1ms")
        await ctx.wait_for_signal("go")

    async def after(ctx: Context) -> str:
        await recorded("sleep:0")()
        return "done"

    run = await left_waiting(client, before)
    assert "sleep" in await misfits(client, run, after)
    assert await goes_on(client, run, before) is None


async def test_tasks_that_reach_their_first_step_in_another_order_are_told_by_their_arguments(client: AsyncClient):
    # trap 18
    async def in_order(*numbers: int) -> None:
        await asyncio.gather(*(recorded("one")(number) for number in numbers))

    async def before(ctx: Context) -> None:
        await in_order(1, 2)
        await ctx.wait_for_signal("go")

    async def after(ctx: Context) -> None:
        await in_order(2, 1)
        await ctx.wait_for_signal("go")

    run = await left_waiting(client, before)
    assert "fingerprint" in await misfits(client, run, after)
    assert await goes_on(client, run, before) is None
    assert calls == ["one", "one"]


async def test_no_step_starts_once_code_was_found_not_to_fit(client: AsyncClient):
    async def after(ctx: Context) -> str:
        try:
            await recorded("one")(2)
        except BaseException:
            await recorded("in except")()
            raise
        finally:
            await recorded("in finally")()
        await recorded("behind")()
        return "done"

    run = await left_waiting(client, with_one)
    await misfits(client, run, after)
    assert await goes_on(client, run, with_one) == "done"
    assert calls == ["one"]


async def test_code_that_does_not_fit_is_tried_again_by_itself(client: AsyncClient):
    # promise 5
    fits = False

    async def body(ctx: Context) -> str:
        await recorded("one")(1 if fits else 2)
        await ctx.wait_for_signal("go")
        return "done"

    run = await left_waiting(client, with_one)
    async with client.worker(deployed(body)):
        shown = (await waits_for(client, run.run_id, "code")).waiting_for
        assert shown is not None
        assert shown.until is not None
        fits = True
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "done"


# -- suspension


@pytest.mark.parametrize("settings", [Settings(keep_ms=0)], ids=["evicted"])
async def test_user_code_cannot_swallow_a_suspension(client: AsyncClient):
    lives: list[list[str]] = []

    async def body(ctx: Context) -> str:
        life: list[str] = []
        lives.append(life)
        try:
            try:
                await ctx.sleep("20ms")
                life.append("awake")
            except Exception as error:
                life.append(f"except Exception: {error!r}")
            try:
                await ctx.wait_for_signal("go")
                life.append("signalled")
            except Exception as error:
                life.append(f"except Exception: {error!r}")
        finally:
            life.append("finally")
        return "done"

    async def is_thrown_away() -> bool:
        return lives[-1] == ["awake", "finally"]

    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "sleep_completed")
        await waits_for(client, run.run_id, "signal")
        await until(is_thrown_away)
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "done"
    assert lives[-1] == ["awake", "signalled", "finally"]
    assert all(life in (["finally"], ["awake", "finally"]) for life in lives[:-1]), "thrown away, nothing was caught"


@pytest.mark.parametrize("settings", [Settings(keep_ms=0)], ids=["evicted"])
async def test_code_that_catches_base_exception_or_awaits_in_finally_is_thrown_away_all_the_same(client: AsyncClient):
    lives = 0

    async def stubborn(ctx: Context) -> None:
        while True:
            try:
                await ctx.wait_for_signal("first")
                return
            except BaseException:
                continue

    async def body(ctx: Context) -> str:
        nonlocal lives
        lives += 1
        await stubborn(ctx)
        try:
            await ctx.wait_for_signal("second")
        finally:
            await recorded("in finally")()
            await ctx.sleep("1ms")
        return "done"

    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        for name in ("first", "second"):
            await until(lambda name=name: _waits(client, run.run_id, name))
            await client.workflow.send_signal(run.run_id, name)
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "done"
    assert lives >= 3
    assert calls == ["in finally"], "once, when the run really came through"
    assert (await types_of(client, run.run_id)).count("sleep_started") == 1


async def _waits(client: AsyncClient, run_id: str, signal: str) -> bool:
    waiting = (await client.workflow.get_run(run_id)).waiting_for
    return waiting is not None and waiting.name == signal


@pytest.mark.parametrize("settings", [Settings(keep_ms=0, waiting_shown_ms=1)], ids=["evicted"])
async def test_durable_calls_in_finally_do_nothing_while_a_run_is_evicted(client: AsyncClient):
    cleaned = 0

    async def body(ctx: Context) -> str:
        nonlocal cleaned
        try:
            await ctx.wait_for_signal("go")
        finally:
            cleaned += 1
            await recorded("clean up")()
        return "done"

    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)

        async def is_evicted() -> bool:
            return cleaned == 1

        await until(is_evicted)
        assert calls == []
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "done"
    assert calls == ["clean up"]
    assert (await types_of(client, run.run_id)).count("step_completed") == 1


@pytest.mark.parametrize("settings", [Settings(keep_ms=0, waiting_shown_ms=1)], ids=["evicted"])
async def test_an_evicted_run_with_branches_resumes_them_all(client: AsyncClient):
    async def branch(ctx: Context, number: int) -> Any:
        one = await recorded(f"before {number}", number)()
        await ctx.sleep(f"{10 * (number + 1)}ms")
        return [one, await ctx.wait_for_signal(f"go {number}")]

    async def body(ctx: Context) -> Any:
        return [
            await ctx.map(lambda number: branch(ctx, number), range(3)),
            await asyncio.gather(*(branch(ctx, number) for number in range(3))),
        ]

    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        for life in range(2):
            await seen(client, run.run_id, "sleep_completed", 3 * (life + 1))
            for number in (2, 0, 1):
                await waits_for(client, run.run_id, "signal")
                await client.workflow.send_signal(run.run_id, f"go {number}", number)
        got = [[0, 0], [1, 1], [2, 2]]
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [got, got]
    assert sorted(calls) == sorted([f"before {number}" for number in range(3)] * 2)


async def test_what_is_awaited_that_is_not_durable_keeps_the_run_in_memory(client: AsyncClient):
    opened, lives = asyncio.Event(), 0

    async def body(ctx: Context) -> str:
        nonlocal lives
        lives += 1
        task = asyncio.create_task(opened.wait())
        await ctx.sleep("20ms")
        await task
        return "done"

    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "sleep_completed")
        opened.set()
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "done"
    assert lives == 1


async def test_a_failure_that_was_caught_is_caught_again_on_replay(client: AsyncClient):
    # promise 5
    texts: list[str] = []

    async def fail() -> None:
        calls.append("fail")
        raise ValueError("no")

    async def body(ctx: Context) -> str:
        try:
            await step("fail", fail)()
        except StepFailed as error:
            texts.append(str(error))
        await ctx.wait_for_signal("go")
        return "done"

    run = await left_waiting(client, body)
    assert await goes_on(client, run, body) == "done"
    assert calls == ["fail"]
    assert texts == [texts[0]] * 2
