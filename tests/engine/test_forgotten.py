"""A run that is owned by a node, and that nothing in the node remembers."""

import asyncio
from typing import Any

from stepwell import AsyncClient, Settings, step, workflow
from stepwell.store.base import NewRun


@workflow("forgotten")
async def two_steps(ctx):
    first = await step("first", lambda: 1)()
    return first + await ctx.wait_for_signal("go")


async def test_a_run_that_is_owned_and_forgotten_is_found_and_goes_on():
    # promise 13
    async with AsyncClient("memory://", settings=Settings(poll_ms=20)) as client, client.worker(two_steps):
        run = await client.workflow.trigger(two_steps)
        async for event in client.workflow.stream_events(run.run_id):
            if event.event_type == "step_completed":
                break
        engine: Any = await client.engine()
        (held,) = (session.held[run.run_id] for session in engine.sessions)
        held.interrupt("lost")  # as if an answer had gone missing: the store still says that this node owns it
        await client.workflow.send_signal(run.run_id, "go", 2)
        assert await client.workflow.result(run.run_id, timeout=30) == 3


@workflow("unheard")
async def at_once(ctx):
    return "done"


async def test_a_run_whose_trigger_was_called_off_before_the_answer_came_is_executed_all_the_same():
    # promise 13. With a poll that comes too late to help.
    async with AsyncClient("memory://", settings=Settings(poll_ms=3_600_000)) as client, client.worker(at_once):
        engine: Any = await client.engine()
        await client.workflow.result(await client.workflow.trigger(at_once))  # what the worker asked for at its start is done
        triggering = asyncio.create_task(client.workflow.trigger(at_once, run_id="called-off"))
        while not any(isinstance(getattr(entry, "operation", None), NewRun) for entry in engine.committer._in_flight):
            await asyncio.sleep(0)
        triggering.cancel()
        assert await client.workflow.result("called-off", timeout=30) == "done"
