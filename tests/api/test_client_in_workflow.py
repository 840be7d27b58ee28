"""The client called from a workflow's own code is recorded; from the body of a step it is not."""

import asyncio
from typing import Any

import pytest

from stepwell import AsyncClient, Client, Context, NotFoundError, Run, StepFailed, StepwellError, ValidationError, step, workflow
from stepwell.model import Event, Page
from tests.api.tools import events_of, executed, ran, seen, types_of, waits_for
from tests.clients import PATIENCE_S


@workflow("inner-echo")
async def echo(ctx: Context, input: Any) -> Any:
    return input


async def replayed(client: AsyncClient, wf: Any, steps: int) -> Any:
    """Execute a run up to its wait for "go", replay it in another worker, and return its result."""
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_completed", steps)
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        return await client.workflow.result(run.run_id, PATIENCE_S)


async def test_a_trigger_from_a_workflow_is_made_once_and_replays_from_the_record(client: AsyncClient):
    # promise 2, promise 5
    got: list[Run[Any]] = []

    @workflow("inner-triggers")
    async def wf(ctx):
        got.append(await client.workflow.trigger(echo, {"n": 1}, parent_run_id=ctx.run_id, tags=["inner"]))
        got.append(await client.workflow.trigger(echo, {"n": 1}))
        await ctx.wait_for_signal("go")

    await replayed(client, wf, 2)
    live, replayed_ = got[:2], got[2:]
    assert live == replayed_
    assert all(isinstance(run, Run) and run.created for run in live)
    assert live[0].run_id != live[1].run_id
    assert live[0].parent_run_id is not None
    assert len(await client.workflow.get_runs(echo)) == 2


async def test_every_read_is_recorded_and_replays_with_the_answer_of_then(client: AsyncClient):
    # promise 5
    other = await client.workflow.trigger(echo, 1, run_id="other", tags=["t"])
    got: list[list[Any]] = []

    @workflow("inner-reads")
    async def wf(ctx):
        got.append(
            [
                await client.workflow.get_run("other"),
                await client.workflow.get_runs(echo, tags=["t"]),
                await client.workflow.get_events("other"),
                [run async for run in client.workflow.iter_runs(echo)],
                await client.workflow.why("other"),
            ]
        )
        await ctx.wait_for_signal("go")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_completed", 5)
    await client.workflow.cancel("other")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        await client.workflow.wait(run.run_id, PATIENCE_S)
    live, again = got
    assert live == again
    assert isinstance(live[0], Run)
    assert live[0].status == "pending"
    assert isinstance(live[1], Page)
    assert isinstance(live[1].items[0], Run)
    assert isinstance(live[2][0], Event)
    assert live[3][0].run_id == other.run_id
    names = [event.name for event in await events_of(client, run.run_id, "step_completed")]
    assert names == ["workflow.get_run", "workflow.get_runs", "workflow.get_events", "workflow.get_runs", "workflow.why"]


async def test_waiting_for_another_run_gives_its_result(client: AsyncClient):
    @workflow("inner-waits")
    async def wf(ctx):
        run = await client.workflow.trigger(echo, "hello")
        over = await client.workflow.wait(run.run_id)
        return [over.status, await client.workflow.result(run)]

    async with client.worker(wf, echo):
        assert (await ran(client, wf)).output == ["completed", "hello"]


async def test_an_event_from_a_workflow_is_appended_once(client: AsyncClient):
    # promise 2
    @workflow("inner-emits")
    async def wf(ctx):
        await client.workflow.emit_event(ctx.run_id, "mine", 1)
        await client.workflow.emit_event(ctx.run_id, "mine", 2)
        await ctx.wait_for_signal("go")
        return ctx.run_id

    run_id = await replayed(client, wf, 2)
    assert [event.payload for event in await events_of(client, run_id, "mine")] == [1, 2]


async def test_an_error_of_the_client_reaches_the_workflow_as_a_failed_step_live_and_replayed(client: AsyncClient):
    # promise 5
    got: list[StepFailed] = []

    @workflow("inner-fails")
    async def wf(ctx):
        try:
            await client.workflow.get_run("nobody")
        except StepFailed as error:
            got.append(error)
        await step("after", lambda: None)()
        await ctx.wait_for_signal("go")

    await replayed(client, wf, 1)
    live, again = got
    assert str(live) == str(again)
    assert live.is_a(NotFoundError)
    assert "nobody" in live.message


async def test_what_cannot_be_replayed_says_so(client: AsyncClient):
    @workflow("inner-cannot")
    async def wf(ctx):
        with pytest.raises(StepwellError, match="replay"):
            async for _ in client.workflow.stream_events(ctx.run_id):
                pass
        with pytest.raises(ValidationError, match="replay"):
            await client.workflow.stats()
        return "said so"

    assert (await executed(client, wf)).output == "said so"


@pytest.mark.usefixtures("may_block_the_loop")
async def test_the_blocking_client_in_a_workflow_says_why_it_must_not(client: AsyncClient):
    blocking = Client("memory://")

    @workflow("inner-blocking")
    async def wf(ctx):
        with pytest.raises(StepwellError, match="AsyncClient"):
            blocking.workflow.trigger(echo)
        return "said so"

    try:
        assert (await executed(client, wf)).output == "said so"
    finally:
        blocking.close()


@pytest.mark.usefixtures("may_block_the_loop")
async def test_the_blocking_client_in_a_plain_step_is_a_plain_client(client: AsyncClient):
    blocking = Client("memory://")

    def body() -> str:
        return blocking.workflow.trigger(echo, 1).run_id

    @workflow("inner-blocking-step")
    async def wf(ctx):
        return await step("body", body)()

    try:
        run = await executed(client, wf)
        assert blocking.workflow.get_run(run.output).input == 1
    finally:
        blocking.close()


async def test_in_a_step_calls_are_plain_but_a_trigger_is_made_once_for_all_attempts(client: AsyncClient):
    attempts: list[str] = []

    async def body() -> list[str]:
        one = await client.workflow.trigger(echo, 1)
        two = await client.workflow.trigger(echo, 1)
        attempts.append(one.run_id)
        if len(attempts) < 3:
            raise ConnectionError("after the trigger")
        return [one.run_id, two.run_id]

    @workflow("inner-step-triggers")
    async def wf(ctx):
        return [await step("body", body, retries=5, retry_delay=0)(), await step("body", body)()]

    run = await executed(client, wf)
    assert run.status == "completed", run.error
    assert len(set(attempts[:3])) == 1
    first, second = run.output
    assert len({*first, *second}) == 4, "each trigger of each step has a key of its own"
    assert len(await client.workflow.get_runs(echo)) == 4
    assert "workflow.trigger" not in [event.name for event in await client.workflow.get_events(run.run_id)]


async def test_a_key_of_ones_own_in_a_step_is_respected(client: AsyncClient):
    async def body() -> str:
        return (await client.workflow.trigger(echo, 1, idempotency_key="mine")).run_id

    @workflow("inner-step-key")
    async def wf(ctx):
        return [await step("body", body)(), await step("body", body)()]

    run = await executed(client, wf)
    assert len(set(run.output)) == 1
    assert (await client.workflow.get_run(run.output[0])).idempotency_key == "mine"


async def test_branches_may_call_the_client_at_once(client: AsyncClient):
    @workflow("inner-branches")
    async def wf(ctx):
        triggered = await ctx.map(lambda number: client.workflow.trigger(echo, number), range(5))
        more = await asyncio.gather(*(client.workflow.trigger(echo, number) for number in range(5, 10)))
        await ctx.wait_for_signal("go")
        return [run.input for run in [*triggered, *more]]

    assert await replayed(client, wf, 10) == list(range(10))
    assert len(await client.workflow.get_runs(echo)) == 10


async def test_a_polling_loop_costs_an_event_a_poll(client: AsyncClient):
    @workflow("inner-polls")
    async def wf(ctx, input):
        polls = 0
        while (await client.workflow.get_run(input)).status != "completed":
            polls += 1
            await ctx.sleep("5ms")
        return polls

    @workflow("inner-polled")
    async def polled(ctx):
        await ctx.wait_for_signal("end")

    async with client.worker(wf, polled):
        other = await client.workflow.trigger(polled)
        run = await client.workflow.trigger(wf, other.run_id)
        await waits_for(client, other.run_id, "signal")
        await seen(client, run.run_id, "sleep_completed", 2)
        await client.workflow.send_signal(other.run_id, "end")
        polls = await client.workflow.result(run.run_id, PATIENCE_S)
    assert (await types_of(client, run.run_id)).count("step_completed") == polls + 1


async def test_every_change_to_another_run_is_made_once_and_replays_from_the_record(client: AsyncClient):
    # promise 2, promise 5
    @workflow("inner-steered")
    async def steered(ctx, input):
        if input == "fails":
            raise ValueError("fails")
        await ctx.wait_for_signal("never")

    got: list[list[Any]] = []

    @workflow("inner-steers")
    async def steers(ctx):
        flows = client.workflow
        hook = await flows.create_hook("waits", "asked", "approve")
        paused = await flows.pause("waits")
        repaired = await flows.set_step_result("waits", "charge", {"by": "hand"}, "looked it up")
        got.append(
            [
                hook,
                paused,
                repaired,
                await flows.resume("waits"),
                await flows.execute_hook(hook.token, True),
                await flows.get_hooks("waits"),
                await flows.send_signal("waits", "note", 1),
                await flows.signal_with_start(echo, 1, "note", 2, run_id="started"),
                await flows.why("waits"),
                await flows.fork("waits"),
                await flows.retry("failed"),
                await flows.cancel("waits", reason="enough"),
            ]
        )
        await ctx.wait_for_signal("go")

    async with client.worker(steered):
        await ran(client, steered, "fails", run_id="failed")
    await client.workflow.trigger(steered, "waits", run_id="waits")
    await replayed(client, steers, 12)
    live, again = got
    assert live == again
    assert [run.status for run in (live[1], live[2], live[3], live[-1])] == ["paused", "paused", "pending", "cancelled"]
    types = await types_of(client, "waits")
    assert [types.count(kind) for kind in ("hook_created", "run_paused", "run_resumed", "run_cancelled")] == [1, 1, 1, 1]
    assert len(await events_of(client, "failed", "run_resumed")) == 1
    assert len(await client.workflow.get_runs("inner-steered")) == 3
