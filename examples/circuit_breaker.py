"""Stop a runaway workflow: by the number of its events, or by the time since it started, waits included."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def work(number):
    return number * number


@workflow("data-processing", max_events=100, execution_timeout=60_000)
async def data_processing(ctx, input):
    total = 0
    for number in range(input["count"]):
        total += await step("work", work)(number)
    await ctx.sleep(input["rest"])
    return total


async def main():
    async with client, client.worker(data_processing):
        fits = await client.workflow.trigger(data_processing, {"count": 10, "rest": "0s"})
        runaway = await client.workflow.trigger(data_processing, {"count": 1_000_000, "rest": "0s"})
        sleeper = await client.workflow.trigger(data_processing, {"count": 1, "rest": "1h"}, execution_timeout="300ms")
        for run in (fits, runaway, sleeper):
            over = await client.workflow.wait(run.run_id)
            print(over.status, over.output if over.error is None else over.error_details.type)


if __name__ == "__main__":
    asyncio.run(main())
