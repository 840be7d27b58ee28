"""A worker that is being started."""

import asyncio

from stepwell import AsyncClient, WorkflowWorker, step, workflow


async def same(number: int) -> int:
    return number


@workflow("opening-echo")
async def echo(ctx: object, number: int) -> int:
    return await step("same", same)(number)


async def test_runs_that_are_triggered_while_a_worker_starts_are_executed_once_it_has_started():
    async with AsyncClient("memory://") as client, WorkflowWorker(client) as worker:
        starting = asyncio.ensure_future(worker.start(echo))
        runs = []
        while not starting.done():
            runs.append(await client.workflow.trigger(echo, len(runs)))
        assert [await client.workflow.result(run) for run in runs] == list(range(len(runs)))
