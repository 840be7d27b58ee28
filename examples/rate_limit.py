"""Wait a second after each item. The wait is durable: a restart neither shortens nor repeats it."""

import asyncio
import os
from datetime import timedelta

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def process_item(item):
    print(f"processed {item}")


@workflow("rate-limited-workflow")
async def rate_limited(ctx, input):
    items = input[0]["items"]
    for item in items:
        await step("process-item", process_item)(item)
        await ctx.sleep("1s")
    return {"processed": len(items)}


async def main():
    async with client, client.worker(rate_limited):
        run = await client.workflow.trigger("rate-limited-workflow", [{"items": ["a", "b", "c"]}])
        over = await client.workflow.wait(run.run_id)
        print(over.output, "in 3 s or more:", over.completed_at - over.started_at >= timedelta(seconds=3))


if __name__ == "__main__":
    asyncio.run(main())
