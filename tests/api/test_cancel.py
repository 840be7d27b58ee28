"""Cancelling: at once, once, and for good."""

import asyncio
import threading
from typing import Any

import pytest

from stepwell import AsyncClient, Context, RunCancelled, Settings, StepFailed, step, workflow
from tests.api.tools import events_of, executed, seen, types_of, until, waits_for
from tests.clients import PATIENCE_S

FINAL = {"run_completed", "run_failed", "run_cancelled"}


async def test_a_waiting_run_is_cancelled_at_once_with_its_reason(client: AsyncClient):
    # promise 9
    @workflow("cancel-waiting")
    async def wf(ctx):
        await ctx.wait_for_signal("never")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, "signal")
        cancelled = await client.workflow.cancel(run.run_id, reason="nobody wants it")
        assert (cancelled.status, cancelled.cancel_reason, cancelled.waiting_for) == ("cancelled", "nobody wants it", None)
        assert cancelled.completed_at is not None
        with pytest.raises(RunCancelled, match="nobody wants it") as raised:
            await client.workflow.result(run.run_id, PATIENCE_S)
    assert (raised.value.reason, raised.value.run.run_id) == ("nobody wants it", run.run_id)
    (event,) = await events_of(client, run.run_id, "run_cancelled")
    assert event.payload == {"reason": "nobody wants it"}


async def test_a_run_that_has_not_started_never_does(client: AsyncClient):
    # promise 9
    started: list[str] = []

    @workflow("cancel-pending")
    async def wf(ctx):
        started.append(ctx.run_id)

    run = await client.workflow.trigger(wf)
    assert (await client.workflow.cancel(run.run_id)).status == "cancelled"
    other = await executed(client, wf)
    assert started == [other.run_id]
    assert await types_of(client, run.run_id) == ["run_created", "run_cancelled"]


async def test_a_running_async_step_sees_cancelled_error_and_nothing_starts_any_more(client: AsyncClient):
    # promise 9
    entered, told = asyncio.Event(), list[str]()

    async def hang() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("step cancelled")
            raise

    async def behind() -> None:
        told.append("a body started")

    @workflow("cancel-running")
    async def wf(ctx):
        try:
            await step("hang", hang)()
        except StepFailed:
            told.append("step failed")
        except asyncio.CancelledError:
            told.append("workflow cancelled")
            await step("behind", behind)()
        finally:
            told.append("finally")
            await step("behind", behind)()
        await step("behind", behind)()

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await entered.wait()
        await client.workflow.cancel(run.run_id)

        async def is_told() -> bool:
            return "finally" in told

        await until(is_told)
    assert told == ["step cancelled", "workflow cancelled", "finally"]
    assert (await types_of(client, run.run_id))[-1] == "run_cancelled"


async def test_a_workflow_that_swallows_its_cancellation_changes_nothing(client: AsyncClient):
    # promise 8, promise 9
    entered, swallowed = asyncio.Event(), asyncio.Event()
    started: list[int] = []

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    async def body() -> None:
        started.append(1)

    @workflow("cancel-swallowed")
    async def wf(ctx):
        try:
            await step("hang", hang)()
        except BaseException:
            pass
        swallowed.set()
        await step("body", body)()
        return "as if nothing had happened"

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await entered.wait()
        await client.workflow.cancel(run.run_id)
        await swallowed.wait()
    over = await client.workflow.get_run(run.run_id)
    assert (over.status, over.output) == ("cancelled", None)
    assert started == []


async def test_a_cancelled_run_of_branches_stops_them_all(client: AsyncClient):
    # promise 9
    entered, cancelled = asyncio.Barrier(11), list[int]()

    async def hang(number: int) -> None:
        await entered.wait()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(number)

    @workflow("cancel-branches")
    async def wf(ctx):
        both = [ctx.map(step("hang", hang), range(5)), asyncio.gather(*(step("hang", hang)(number) for number in range(5, 10)))]
        await asyncio.gather(*both)

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await entered.wait()
        await client.workflow.cancel(run.run_id)

        async def is_told() -> bool:
            return len(cancelled) == 10

        await until(is_told)
    assert sorted(cancelled) == list(range(10))


async def test_cancelling_twice_or_too_late_answers_with_the_run_as_it_is(client: AsyncClient):
    # promise 8
    @workflow("cancel-twice")
    async def wf(ctx):
        return "done"

    over = await executed(client, wf)
    assert (await client.workflow.cancel(over.run_id, reason="too late")).status == "completed"
    run = await client.workflow.trigger(wf)
    first = await client.workflow.cancel(run.run_id, reason="first")
    second = await client.workflow.cancel(run.run_id, reason="second")
    assert (second.status, second.cancel_reason, second.completed_at) == ("cancelled", "first", first.completed_at)
    assert len(await events_of(client, run.run_id, "run_cancelled")) == 1


@pytest.mark.parametrize("settings", [Settings(), Settings(keep_ms=0)], ids=["kept", "evicted"])
async def test_cancelling_races_with_completion_and_the_answer_agrees_with_what_became_of_it(client: AsyncClient):
    # promise 8, trap 14
    async def body() -> None:
        await asyncio.sleep(0)

    @workflow("cancel-races")
    async def wf(ctx, input):
        for _ in range(input):
            await step("body", body)()
        return "done"

    async def race(number: int) -> tuple[str, str, list[str]]:
        run = await client.workflow.trigger(wf, number % 4)
        for _ in range(number % 11):
            await asyncio.sleep(0)
        answer = await client.workflow.cancel(run.run_id)
        assert answer.is_over
        final = await client.workflow.wait(run.run_id, PATIENCE_S)
        return answer.status, final.status, [kind for kind in await types_of(client, run.run_id) if kind in FINAL]

    outcomes: list[Any] = []
    async with client.worker(wf):
        for _ in range(10):
            outcomes += await asyncio.gather(*(race(number) for number in range(25)))
    for answer, final, ends in outcomes:
        assert answer == final
        assert ends == [f"run_{final}"]


async def test_a_thread_of_a_cancelled_run_ends_unheard(client: AsyncClient):
    # promise 9
    entered, release, ended = threading.Event(), threading.Event(), threading.Event()

    def stubborn() -> str:
        entered.set()
        assert release.wait(PATIENCE_S)
        ended.set()
        return "too late"

    @workflow("cancel-thread")
    async def wf(ctx):
        return await step("stubborn", stubborn)()

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await asyncio.to_thread(entered.wait, PATIENCE_S)
        assert (await client.workflow.cancel(run.run_id)).status == "cancelled"
        release.set()
        await asyncio.to_thread(ended.wait, PATIENCE_S)
    assert (await types_of(client, run.run_id))[-1] == "run_cancelled"
    assert "step_completed" not in await types_of(client, run.run_id)


async def test_a_run_can_cancel_another_and_itself(client: AsyncClient):
    @workflow("cancel-victim")
    async def victim(ctx):
        await ctx.sleep("1h")

    @workflow("cancel-other")
    async def other(ctx: Context, input: Any) -> Any:
        run = await client.workflow.cancel(input or ctx.run_id, reason="by a workflow")
        return run.status

    async with client.worker(victim, other):
        sleeping = await client.workflow.trigger(victim)
        run = await client.workflow.trigger(other, sleeping.run_id)
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "cancelled"
        assert (await client.workflow.get_run(sleeping.run_id)).cancel_reason == "by a workflow"
        itself = await client.workflow.trigger(other)
        assert (await client.workflow.wait(itself.run_id, PATIENCE_S)).status == "cancelled"


async def test_no_task_of_a_cancelled_or_failed_run_is_left(client: AsyncClient):
    def left() -> list[str]:
        names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
        return [name for name in names if "Execution" in name or "wf" in name or "begin" in name or "run_step" in name]

    @workflow("cancel-tidy", max_events=50)
    async def wf(ctx, input):
        if input == "cancel":
            await asyncio.gather(ctx.sleep("1h"), ctx.parallel([lambda: ctx.wait_for_signal("never")]))
        if input == "limit":
            await ctx.map(step("one", lambda number: number), range(60))
        if input == "sequence":
            for _ in range(60):
                await step("one", lambda: 1)()
        if input == "deadline":
            await ctx.parallel([lambda: ctx.sleep("1h")])
        raise ValueError("no")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf, "cancel")
        await seen(client, run.run_id, "sleep_started")
        await client.workflow.cancel(run.run_id)
        for kind in ("limit", "sequence", "deadline", "error"):
            run = await client.workflow.trigger(wf, kind, execution_timeout="20ms" if kind == "deadline" else "1h")
            assert (await client.workflow.wait(run.run_id, PATIENCE_S)).status == "failed"

        async def is_tidy() -> bool:
            return left() == []

        await until(is_tidy)
