"""Run one step for each item, all at the same time. The results come in the order of the items."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def process_item(item):
    return {"id": item["id"], "upper": item["text"].upper()}


@workflow("process-items")
async def process_items(ctx, input):
    items = input[0]["items"]
    results = await ctx.parallel([step(f"process-{item['id']}", process_item)(item) for item in items])
    return {"results": results}


async def main():
    async with client, client.worker(process_items):
        items = [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}, {"id": 3, "text": "three"}]
        run = await client.workflow.trigger("process-items", [{"items": items}])
        print(await client.workflow.result(run))


if __name__ == "__main__":
    asyncio.run(main())
