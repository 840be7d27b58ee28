"""A run that is owned by a node, and that nothing in the node remembers."""

from typing import Any

from stepwell import AsyncClient, Settings, step, workflow


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
