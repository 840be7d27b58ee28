"""Workers come and go on one node."""

import asyncio

from stepwell import AsyncClient, WorkflowWorker, step, workflow


@workflow("sessions-nap")
async def nap(ctx):
    await ctx.sleep("20ms")
    return await step("after", lambda: "rested")()


async def test_two_workers_that_start_at_the_same_time_both_work():
    async with AsyncClient("memory://") as client:
        first, second = WorkflowWorker(client), WorkflowWorker(client)
        await asyncio.gather(first.start(nap), second.start(nap))
        runs = [await client.workflow.trigger(nap) for _ in range(20)]
        assert {await client.workflow.result(run.run_id, timeout=30) for run in runs} == {"rested"}
        await asyncio.gather(first.stop(), second.stop())


async def test_a_worker_started_after_another_has_stopped_takes_what_was_triggered_meanwhile():
    async with AsyncClient("memory://") as client:
        async with client.worker(nap):
            pass
        run = await client.workflow.trigger(nap)
        async with client.worker(nap):
            assert await client.workflow.result(run.run_id, timeout=30) == "rested"
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert len(names) == len(set(names)), "a loop runs twice"
