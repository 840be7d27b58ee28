"""Process items at the same time, four at once at most, and put their results together in one more step."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def process_item(number):
    return number * number


async def aggregate(results):
    return {"count": len(results), "sum": sum(results)}


@workflow("aggregate-results")
async def aggregate_results(ctx, input):
    results = await ctx.map(step("process", process_item), input[0]["items"], limit=4)
    return await step("aggregate", aggregate)(results)


async def main():
    async with client, client.worker(aggregate_results):
        run = await client.workflow.trigger("aggregate-results", [{"items": list(range(1, 101))}])
        print(await client.workflow.result(run))


if __name__ == "__main__":
    asyncio.run(main())
