"""Compensations: what a run that fails, or is cancelled, has done is undone, the last first."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    ConflictError,
    Context,
    Run,
    Settings,
    Workflow,
    WorkflowWorker,
    current_step,
    step,
    workflow,
)
from tests.api.tools import events_of, executed, ran, seen, types_of, until, waits_for
from tests.clients import PATIENCE_S

calls: list[Any] = []
"""The bodies and compensations that ran, in the test that is running."""


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def done(name: str, result: Any = "", **options: Any) -> Callable[..., Awaitable[Any]]:
    """Return a step that notes that it ran, and that it was undone, and with what."""

    async def body() -> Any:
        calls.append(name)
        return result or name

    async def undo(value: Any) -> None:
        calls.append(("undo", value))

    return step(name, body, **{"compensate": undo, **options})


def undone() -> list[Any]:
    """Return what the compensations were called with."""
    return [call[1] for call in calls if isinstance(call, tuple)]


async def over(client: AsyncClient, run: Run[Any] | str) -> Run[Any]:
    return await client.workflow.wait(run if isinstance(run, str) else run.run_id, PATIENCE_S)


Body = Callable[[Context], Awaitable[Any]]


def deployed(body: Body) -> Workflow[Any, Any]:
    """Define the one workflow of this module with this code: what a deployment does."""

    @workflow("undone-deployed")
    async def wf(ctx: Context) -> Any:
        return await body(ctx)

    return wf


async def waits(ctx: Context) -> None:
    """Two steps, and a wait."""
    await done("a")()
    await done("b")()
    await ctx.wait_for_signal("go")


async def left_waiting(client: AsyncClient, body: Body = waits) -> Run[Any]:
    """Return a run that a worker has executed up to a wait for a signal, and then handed back."""
    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, "signal")
    return run


# -- a run that fails


async def test_a_run_that_fails_is_undone_the_last_step_first_each_given_its_result(client: AsyncClient):
    @workflow("undone-failed")
    async def wf(ctx):
        await done("a", {"n": 1})()
        await done("b", [2])()
        await step("no compensation", lambda: 3)()
        await done("c")()
        raise LookupError("too late")

    run = await executed(client, wf)
    assert (run.status, run.error) == ("failed", "LookupError: too late")
    assert undone() == ["c", [2], {"n": 1}]
    assert (await types_of(client, run.run_id))[6:] == [
        "compensation_started", *["compensation_completed"] * 3, "run_failed"
    ]  # fmt: skip
    events = await events_of(client, run.run_id, "compensation_completed")
    assert [(event.step_id, event.name) for event in events] == [
        ("compensate:c", "c"),
        ("compensate:b", "b"),
        ("compensate:a", "a"),
    ]
    (began,), (failed,) = [await events_of(client, run.run_id, kind) for kind in ("compensation_started", "run_failed")]
    assert began.payload == failed.payload


async def test_a_run_that_completes_is_not_undone(client: AsyncClient):
    @workflow("undone-completed")
    async def wf(ctx):
        return await done("a")()

    assert (await executed(client, wf)).output == "a"
    assert calls == ["a"]


async def test_a_step_that_failed_is_not_undone_nor_is_anything_if_that_is_caught(client: AsyncClient):
    async def fail() -> None:
        raise ValueError("no")

    @workflow("undone-step-failed")
    async def wf(ctx, input):
        await done("a")()
        try:
            await step("fails", fail, compensate=lambda _: calls.append(("undo", "fails")))()
        except Exception:
            if input:
                raise

    async with client.worker(wf):
        assert (await ran(client, wf, False)).status == "completed"
        assert undone() == []
        failed = await ran(client, wf, True)
    assert undone() == ["a"]
    assert failed.error_details is not None
    assert (failed.error_details.step, failed.error_details.type) == ("fails", "ValueError")


async def test_nothing_is_undone_in_a_run_whose_steps_have_no_compensation(client: AsyncClient):
    @workflow("undone-nothing")
    async def wf(ctx):
        await step("a", lambda: 1)()
        raise LookupError("no")

    run = await executed(client, wf)
    assert (await types_of(client, run.run_id))[2:] == ["step_completed", "run_failed"]


async def test_a_step_that_repeats_is_undone_as_often_as_it_was_completed(client: AsyncClient):
    @workflow("undone-repeats")
    async def wf(ctx):
        for number in range(3):
            await done("item", f"item {number}")()
        raise LookupError("no")

    run = await executed(client, wf)
    assert undone() == ["item 2", "item 1", "item 0"]
    assert [event.step_id for event in await events_of(client, run.run_id, "compensation_completed")] == [
        "compensate:item#2", "compensate:item#1", "compensate:item"
    ]  # fmt: skip


async def test_branches_are_undone_in_the_order_in_which_their_steps_were_recorded(client: AsyncClient):
    first = asyncio.Event()

    async def quick() -> str:
        first.set()
        return "quick"

    async def slow() -> str:
        await first.wait()
        return "slow"

    def undo(name: str) -> None:
        calls.append(("undo", name))

    @workflow("undone-branches")
    async def wf(ctx):
        one = [step("x", slow, compensate=undo)(), step("x", quick, compensate=undo)()]
        await ctx.parallel(one)
        await asyncio.gather(done("y", "gathered")())
        raise LookupError("no")

    run = await executed(client, wf)
    assert undone()[0] == "gathered"
    completed = [event.step_id for event in await events_of(client, run.run_id, "step_completed")]
    compensated = [event.step_id or "" for event in await events_of(client, run.run_id, "compensation_completed")]
    assert [step_id.replace("compensate:", "") for step_id in compensated] == completed[::-1]


# -- what a compensation may be, and do


async def test_a_compensation_is_given_what_the_step_returned_also_none_and_also_after_a_restart(client: AsyncClient):
    @dataclass
    class Receipt:
        number: int

    async def pay() -> Receipt:
        return Receipt(7)

    def refund(receipt: Receipt) -> None:
        calls.append(("undo", receipt))

    async def body(ctx: Context) -> None:
        await step("pay", pay, compensate=refund)()
        await step("nothing", lambda: None, compensate=lambda result: calls.append(("undo", result)))()
        await ctx.wait_for_signal("go")

    run = await left_waiting(client, body)
    await client.workflow.cancel(run.run_id)
    async with client.worker(deployed(body)):
        await over(client, run)
        live = await client.workflow.trigger("undone-deployed")
        await waits_for(client, live.run_id, "signal")
        await client.workflow.cancel(live.run_id)
        await over(client, live)
    assert undone() == [None, Receipt(7)] * 2


async def test_a_compensation_that_is_a_step_keeps_its_own_options_and_else_it_has_those_of_its_step(client: AsyncClient):
    tries: dict[str, int] = {}

    async def undo(name: str) -> str:
        tries[name] = tries.get(name, 0) + 1
        raise OSError(f"{name} {current_step().attempt}")

    @workflow("undone-options")
    async def wf(ctx):
        await done("a", compensate=undo, retries=1, retry_delay=0)()
        await done("b", compensate=step("undo-b", undo, retries=2, retry_delay=0))()
        await done("c", compensate=undo, retries=5, retry_delay=0, retry_on=ValueError)()
        raise LookupError("too late")

    run = await executed(client, wf)
    assert tries == {"c": 1, "b": 3, "a": 2}
    assert run.error == "LookupError: too late"
    failed = await events_of(client, run.run_id, "compensation_failed")
    assert [(event.name, event.payload["attempt"], event.payload["error"]["message"]) for event in failed] == [
        ("c", 1, "c 1"), ("b", 3, "b 3"), ("a", 2, "a 2")
    ]  # fmt: skip
    retrying = [event.step_id for event in await events_of(client, run.run_id, "step_retrying")]
    assert retrying == ["compensate:b", "compensate:b", "compensate:a"]


async def test_every_attempt_of_a_compensation_has_one_idempotency_key_which_is_not_the_steps(client: AsyncClient):
    keys: list[str] = []

    async def body() -> None:
        keys.append(current_step().idempotency_key)

    def undo(_: None) -> None:
        keys.append(current_step().idempotency_key)
        if current_step().attempt == 1:
            raise OSError

    @workflow("undone-keys")
    async def wf(ctx):
        await step("a", body, compensate=undo, retries=1, retry_delay=0)()
        raise LookupError

    run = await executed(client, wf)
    assert keys == [f"{run.run_id}/a", f"{run.run_id}/compensate:a", f"{run.run_id}/compensate:a"]


async def test_a_compensation_that_waits_long_to_be_tried_again_lets_go_of_the_run(client: AsyncClient):
    async def undo(_: str) -> None:
        calls.append(current_step().attempt)
        raise OSError

    async def body(ctx: Context) -> None:
        await done("a", compensate=undo, retries=2, retry_delay="1h")()
        raise LookupError("too late")

    async with client.worker(deployed(body)):
        run = await client.workflow.trigger("undone-deployed")
        shown = await waits_for(client, run.run_id, "compensation")

        async def is_named() -> bool:
            waiting = (await client.workflow.get_run(run.run_id)).waiting_for
            return waiting is not None and waiting.name == "a" and waiting.until is not None

        await until(is_named)
        assert "compensations" in await client.workflow.why(run.run_id)
    assert shown.status == "running"
    assert calls == ["a", 1]


async def test_a_compensation_whose_result_cannot_be_recorded_has_run_all_the_same(client: AsyncClient):
    @workflow("undone-unserialisable")
    async def wf(ctx):
        await done("a", compensate=lambda _: object(), retries=3)()
        raise LookupError

    run = await executed(client, wf)
    (event,) = await events_of(client, run.run_id, "compensation_completed")
    assert event.payload["result"] is None


async def test_a_step_in_a_compensation_is_a_plain_call_and_context_is_not_for_it(client: AsyncClient):
    async def undo(_: str) -> str:
        return await done("inner")()

    @workflow("undone-inner")
    async def wf(ctx):
        await done("a", compensate=lambda _: ctx.sleep("1s"))()
        await done("b", compensate=undo)()
        raise LookupError

    run = await executed(client, wf)
    (completed,) = await events_of(client, run.run_id, "compensation_completed")
    assert completed.payload["result"] == "inner"
    (failed,) = await events_of(client, run.run_id, "compensation_failed")
    assert "ctx.sleep" in failed.payload["error"]["message"]


async def test_outside_of_a_workflow_there_is_nothing_to_undo():
    assert await done("a")() == "a"
    assert undone() == []


def test_what_is_no_function_is_refused_where_the_step_is_made():
    with pytest.raises(TypeError, match="compensate takes a function"):
        step("a", lambda: 1, compensate="b")  # type: ignore[call-overload]


# -- cancelling


async def test_a_run_that_waits_is_cancelled_once_its_compensations_have_run(client: AsyncClient):
    # promise 9
    blocked = asyncio.Event()

    async def undo(_: str) -> None:
        await blocked.wait()

    @workflow("undone-waiting")
    async def wf(ctx):
        await done("a", compensate=undo)()
        await done("b")()
        await ctx.wait_for_signal("go")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, "signal")
        asked = await client.workflow.cancel(run.run_id, reason="nobody wants it")
        assert asked.status == "running"
        assert asked.waiting_for is not None
        assert asked.waiting_for.kind == "compensation"
        await seen(client, run.run_id, "compensation_completed")
        again = await client.workflow.cancel(run.run_id, reason="another")
        assert again.status == "running"
        with pytest.raises(ConflictError, match="undone"):
            await client.workflow.send_signal(run.run_id, "go")
        blocked.set()
        ended = await over(client, run)
    assert (ended.status, ended.cancel_reason) == ("cancelled", "nobody wants it")
    assert (await types_of(client, run.run_id))[4:] == [
        "cancel_requested", "compensation_completed", "compensation_completed", "run_cancelled"
    ]  # fmt: skip
    (asked_for,) = await events_of(client, run.run_id, "cancel_requested")
    assert asked_for.payload == {"reason": "nobody wants it", "children": []}


async def test_a_body_under_way_is_cancelled_and_has_ended_before_the_first_compensation(client: AsyncClient):
    # promise 9
    entered = asyncio.Event()

    async def hang() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            calls.append("body ended")

    @workflow("undone-body")
    async def wf(ctx):
        await done("a")()
        try:
            await step("hang", hang, compensate=lambda _: calls.append(("undo", "hang")))()
        except asyncio.CancelledError:
            calls.append("workflow cancelled")
            await done("behind")()
        finally:
            calls.append("finally")
        await done("behind")()

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await entered.wait()
        await client.workflow.cancel(run.run_id)
        assert (await over(client, run)).status == "cancelled"
    assert calls == ["a", "body ended", "workflow cancelled", "finally", ("undo", "a")]


async def test_a_run_that_nobody_executes_is_undone_by_who_comes_and_knows_it(client: AsyncClient):
    # promise 9
    run = await left_waiting(client)
    asked = await client.workflow.cancel(run.run_id, reason="late")
    assert (asked.status, asked.waiting_for and asked.waiting_for.kind) == ("running", "compensation")
    assert "cancelled" in await client.workflow.why(run.run_id)
    async with client.worker(deployed(waits)):
        assert (await over(client, run)).cancel_reason == "late"
    assert calls == ["a", "b", ("undo", "b"), ("undo", "a")]


async def test_a_paused_run_is_undone_without_being_resumed(client: AsyncClient):
    # promise 9
    run = await left_waiting(client)
    await client.workflow.pause(run.run_id)
    asked = await client.workflow.cancel(run.run_id)
    assert asked.status == "running"
    async with client.worker(deployed(waits)):
        assert (await over(client, run)).status == "cancelled"
    assert undone() == ["b", "a"]


async def test_a_cancel_takes_back_a_pause_that_has_not_come_into_force(client: AsyncClient):
    entered, ends = asyncio.Event(), asyncio.Event()

    def hang() -> None:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(ends.wait(), loop).result()

    loop = asyncio.get_running_loop()

    @workflow("undone-pausing")
    async def wf(ctx):
        await done("a")()
        await step("hang", hang)()
        await ctx.wait_for_signal("never")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await entered.wait()
        await client.workflow.pause(run.run_id)
        await client.workflow.cancel(run.run_id)
        ends.set()
        assert (await over(client, run)).status == "cancelled"
    assert undone() == ["a"]


async def test_a_pause_in_the_middle_of_compensations_lets_the_one_under_way_finish(client: AsyncClient):
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def undo(name: str) -> None:
        entered.set()
        await go_on.wait()
        calls.append(("undo", name))

    async def body(ctx: Context) -> None:
        await done("a")()
        await done("b", compensate=undo)()
        raise LookupError("too late")

    async with client.worker(deployed(body)):
        run = await client.workflow.trigger("undone-deployed")
        await entered.wait()
        assert (await client.workflow.pause(run.run_id)).status == "running"
        go_on.set()
        await seen(client, run.run_id, "run_paused")
        assert undone() == ["b"]
        await client.workflow.resume(run.run_id)
        assert (await over(client, run)).error == "LookupError: too late"
    assert undone() == ["b", "a"]


async def test_a_worker_that_stops_in_the_middle_of_compensations_leaves_the_rest_to_the_next(client: AsyncClient):
    # promise 12
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def undo(name: str) -> None:
        entered.set()
        await go_on.wait()
        calls.append(("undo", name))

    async def body(ctx: Context) -> None:
        await done("a")()
        await done("b", compensate=undo)()
        raise LookupError("too late")

    wf = deployed(body)
    async with WorkflowWorker(client) as worker:
        await worker.start(wf)
        run = await client.workflow.trigger(wf)
        await entered.wait()
        stopping = asyncio.ensure_future(worker.stop())
        await asyncio.sleep(0)
        go_on.set()
        await stopping
    assert undone() == ["b"]
    async with client.worker(wf):
        await over(client, run)
    assert undone() == ["b", "a"]


async def test_a_run_that_is_being_undone_can_be_cancelled_by_nobody_and_ends_as_it_would(client: AsyncClient):
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def undo(name: str) -> None:
        entered.set()
        await go_on.wait()

    @workflow("undone-twice")
    async def wf(ctx):
        await done("a", compensate=undo)()
        raise LookupError("too late")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await entered.wait()
        for _ in range(10):
            assert (await client.workflow.cancel(run.run_id)).status == "running"
        go_on.set()
        assert (await over(client, run)).error == "LookupError: too late"
    assert await events_of(client, run.run_id, "cancel_requested") == []
    with pytest.raises(ConflictError, match="compensations have run"):
        await client.workflow.retry(run.run_id)


async def test_completion_and_cancel_meet_and_one_of_them_wins(client: AsyncClient):
    # promise 8, promise 9
    @workflow("undone-race")
    async def wf(ctx):
        await done("a")()
        await ctx.sleep("1ms")
        return "done"

    async with client.worker(wf):
        ends: list[str] = []
        for _ in range(30):
            run = await client.workflow.trigger(wf)
            await seen(client, run.run_id, "sleep_started")
            await client.workflow.cancel(run.run_id)
            ended = await over(client, run)
            ends.append(ended.status)
            types = await types_of(client, run.run_id)
            assert ("compensation_completed" in types) == (ended.status == "cancelled")
    assert set(ends) <= {"completed", "cancelled"}
    assert len(undone()) == ends.count("cancelled")


async def test_what_cannot_be_undone_is_set_by_hand_and_what_was_not_recorded_can_be_undone_so(client: AsyncClient):
    async def undo(name: str) -> None:
        calls.append(("undo", name))
        raise OSError("the line is dead")

    async def body(ctx: Context) -> None:
        await done("a")()
        await done("b", compensate=undo, retries=1_000, retry_delay="1h")()
        await ctx.wait_for_signal("go")
        await done("c")()

    wf = deployed(body)
    run = await left_waiting(client, body)
    await client.workflow.send_signal(run.run_id, "go")
    await client.workflow.pause(run.run_id)
    await client.workflow.cancel(run.run_id)
    await client.workflow.pause(run.run_id)
    await client.workflow.set_step_result(run.run_id, "c", "c by hand", "it had happened")
    await client.workflow.resume(run.run_id)
    async with client.worker(wf):
        await seen(client, run.run_id, "step_retrying")
        await waits_for(client, run.run_id, "compensation")
    await client.workflow.pause(run.run_id)
    await client.workflow.set_step_result(run.run_id, "compensate:b", None, "done by telephone")
    with pytest.raises(ConflictError, match="completed already"):
        await client.workflow.set_step_result(run.run_id, "compensate:b", None, "again")
    await client.workflow.resume(run.run_id)
    async with client.worker(wf):
        assert (await over(client, run)).status == "cancelled"
    assert undone() == ["c by hand", "b", "a"]
    by_hand = (await events_of(client, run.run_id, "compensation_completed"))[1]
    assert (by_hand.step_id, by_hand.name, by_hand.payload["reason"]) == ("compensate:b", "b", "done by telephone")


# -- limits


async def test_a_deadline_undoes_whether_a_worker_has_the_run_or_not(client: AsyncClient):
    # promise 10
    wf = deployed(waits)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf, execution_timeout=1_000)
        ended = await over(client, run)
        assert (ended.status, ended.error) == (
            "failed",
            "stepwell.errors.ExecutionTimeoutError: execution timeout of 1000 ms is over",
        )
        assert undone() == ["b", "a"]
        calls.clear()
        run = await client.workflow.trigger(wf, execution_timeout=1_500)
        await waits_for(client, run.run_id, "signal")
    await client.workflow.pause(run.run_id)
    async with client.worker(other):
        await seen(client, run.run_id, "run_paused")

        async def is_due() -> bool:
            return (await client.workflow.get_run(run.run_id)).status == "running"

        await until(is_due)
    async with client.worker(wf):
        ended = await over(client, run)
    assert ended.error == "stepwell.errors.ExecutionTimeoutError: execution timeout of 1500 ms is over"
    assert undone() == ["b", "a"]


@workflow("undone-other")
async def other(ctx: Context) -> None:
    """Known to a worker that knows nothing else."""


async def test_what_compensations_record_does_not_count_toward_max_events(client: AsyncClient):
    # promise 10
    @workflow("undone-full", max_events=6)
    async def wf(ctx):
        for number in range(10):
            await done(f"item {number}")()

    run = await executed(client, wf)
    assert run.error is not None
    assert "MaxEventsError" in run.error
    assert undone() == ["item 2", "item 1", "item 0"]
    assert await types_of(client, run.run_id) == [
        "run_created", "run_started", *["step_completed"] * 3, "compensation_started", *["compensation_completed"] * 3,
        "run_failed",
    ]  # fmt: skip


async def test_events_from_outside_that_take_the_last_place_leave_nothing_done_and_not_undone(client: AsyncClient):
    # promise 10
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def late() -> str:
        entered.set()
        await go_on.wait()
        return "late"

    @workflow("undone-crowded", max_events=6)
    async def wf(ctx):
        await done("a")()
        await step("late", late, compensate=lambda result: calls.append(("undo", result)))()
        await ctx.wait_for_signal("never")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await entered.wait()
        for _ in range(2):
            await client.workflow.emit_event(run.run_id, "crowd", None)
        go_on.set()
        ended = await over(client, run)
    assert ended.error is not None
    assert "MaxEventsError" in ended.error
    assert undone() == ["late", "a"]


# -- replay


@pytest.mark.parametrize("settings", [Settings(waiting_shown_ms=1, keep_ms=0)])
async def test_code_that_is_changed_in_the_middle_does_not_let_a_run_go_on_half_undone(client: AsyncClient):
    # promise 5
    async def fail(_: str) -> None:
        raise OSError

    async def broken(ctx: Context) -> None:
        await done("a", compensate=fail, retries=1, retry_delay="50ms")()
        raise LookupError("as it was")

    async def repaired(ctx: Context) -> str:
        await done("a")()
        await done("new")()
        return "all is well"

    async with client.worker(deployed(broken)):
        run = await client.workflow.trigger("undone-deployed")
        await seen(client, run.run_id, "step_retrying")
    async with client.worker(deployed(repaired)):
        ended = await over(client, run)
    assert ended.error == "LookupError: as it was"
    assert calls == ["a", ("undo", "a")]


async def test_a_run_whose_code_does_not_know_a_completed_step_any_more_waits_for_code_that_does(client: AsyncClient):
    # promise 5
    async def without(ctx: Context) -> None:
        await done("a")()
        await ctx.wait_for_signal("go")

    async def raises(ctx: Context) -> None:
        raise ImportError("a bad deployment")

    run = await left_waiting(client)
    await client.workflow.cancel(run.run_id)
    for code in (without, raises):
        async with client.worker(deployed(code)):
            shown = await waits_for(client, run.run_id, "code")
        assert shown.error is not None
        assert "with a compensation" in shown.error
    assert undone() == []
    async with client.worker(deployed(waits)):
        assert (await over(client, run)).status == "cancelled"
    assert undone() == ["b", "a"]


async def test_what_the_loser_of_a_race_has_completed_is_undone_also_after_a_restart(client: AsyncClient):
    async def body(ctx: Context) -> None:
        async def slow() -> None:
            await done("lost")()
            await ctx.wait_for_signal("never")

        async def quick() -> None:
            await done("won")()
            await done("won", "twice")()

        await ctx.race({"slow": slow, "quick": quick})
        await ctx.wait_for_signal("go")

    run = await left_waiting(client, body)
    await client.workflow.cancel(run.run_id)
    async with client.worker(deployed(body)):
        await over(client, run)
    completed = [event.step_id for event in await events_of(client, run.run_id, "step_completed")]
    compensated = [event.step_id or "" for event in await events_of(client, run.run_id, "compensation_completed")]
    assert [step_id.replace("compensate:", "") for step_id in compensated] == completed[::-1]
    assert sorted(undone()) == ["lost", "twice", "won"]


async def test_a_loser_that_is_gone_through_again_does_nothing_new_in_a_run_that_goes_on(client: AsyncClient):
    async def body(ctx: Context) -> str:
        async def slow() -> None:
            await done("lost")()
            await ctx.wait_for_signal("never")
            await done("never")()

        await ctx.race({"slow": slow, "late": lambda: ctx.sleep("20ms")})
        await ctx.wait_for_signal("go")
        return "done"

    run = await left_waiting(client, body)
    await client.workflow.send_signal(run.run_id, "never")
    await client.workflow.send_signal(run.run_id, "go")
    async with client.worker(deployed(body)):
        assert (await over(client, run)).output == "done"
    assert calls == ["lost"]


# -- children


@workflow("undone-child")
async def child(ctx: Context) -> None:
    await done("in the child")()
    await ctx.wait_for_signal("never")


async def test_children_that_are_waited_for_are_over_before_the_parent_is_undone(client: AsyncClient):
    # promise 9
    @workflow("undone-parent")
    async def parent(ctx):
        await done("a")()
        await ctx.start_child(child, run_id=f"{ctx.run_id}-detached")
        await ctx.parallel([lambda n=n: ctx.run_child(child, run_id=f"{ctx.run_id}-{n}") for n in range(3)])

    async with client.worker(parent, child):
        await client.workflow.trigger(parent, run_id="tree")
        for name in ("tree-detached", *(f"tree-{n}" for n in range(3))):

            async def is_there(name: str = name) -> bool:
                return bool(await client.workflow.get_runs("undone-child", "running")) and name in [
                    run.run_id for run in (await client.workflow.get_child_runs("tree")).items
                ]

            await until(is_there)
            await waits_for(client, name, "signal")
        await client.workflow.cancel("tree", reason="all of it")
        assert (await over(client, "tree")).cancel_reason == "all of it"
        assert [(await client.workflow.get_run(f"tree-{n}")).cancel_reason for n in range(3)] == ["all of it"] * 3
        assert (await client.workflow.get_run("tree-detached")).status == "running"
        assert undone() == ["in the child"] * 3 + ["a"]
        await client.workflow.cancel("tree-detached")


async def test_children_may_be_left_alone(client: AsyncClient):
    @workflow("undone-lonely-parent")
    async def parent(ctx):
        await done("a")()
        await ctx.run_child(child, run_id="left-alone")

    async with client.worker(parent, child):
        run = await client.workflow.trigger(parent)
        await waits_for(client, run.run_id, "child")
        await client.workflow.cancel(run.run_id, children=False)
        await over(client, run)
        assert (await client.workflow.get_run("left-alone")).status == "running"
        await client.workflow.cancel("left-alone")


async def test_a_run_that_is_being_cancelled_gets_no_new_children(client: AsyncClient):
    # promise 9
    run = await left_waiting(client)
    await client.workflow.cancel(run.run_id)
    with pytest.raises(ConflictError, match="over"):
        await client.workflow.trigger(child, parent_run_id=run.run_id)
    async with client.worker(deployed(waits)):
        await over(client, run)


async def test_an_answer_to_a_hook_of_a_run_that_is_being_undone_is_refused(client: AsyncClient):
    async def body(ctx: Context) -> None:
        await done("a")()
        await ctx.create_hook("budget", "approve")
        await ctx.wait_for_signal("go")

    run = await left_waiting(client, body)
    (hook,) = await client.workflow.get_hooks(run.run_id)
    await client.workflow.cancel(run.run_id)
    with pytest.raises(ConflictError, match="being undone"):
        await client.workflow.execute_hook(hook.token)
    async with client.worker(deployed(body)):
        await over(client, run)


async def test_no_body_starts_beyond_the_next_commit_although_another_process_has_cancelled(file_url: str):
    # promise 9
    started: list[int] = []
    stopped = asyncio.Event()

    async def body(number: int) -> None:
        started.append(number)

    @workflow("undone-busy")
    async def wf(ctx):
        try:
            for number in range(100_000):
                await step("one", body, compensate=lambda _: None)(number)
        finally:
            stopped.set()

    slow_to_hear = Settings(watch_ms=5_000, poll_ms=5_000)
    async with AsyncClient(file_url, settings=slow_to_hear) as one, AsyncClient(file_url) as other, one.worker(wf):
        run = await one.workflow.trigger(wf, max_events=1_000_000)
        await seen(other, run.run_id, "step_completed")
        await other.workflow.cancel(run.run_id)
        known = len(started)
        await stopped.wait()
        assert len(started) <= known + 1
        assert (await over(other, run)).status == "cancelled"
