"""Process the pending items of a batch at the same time, count what succeeded, and store the summary."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def process_item(item):
    return {"success": item["value"] != 3}


@workflow("batch-process")
async def batch_process(ctx, input):
    batch_id = input[0]["batchId"]

    # Step 1: Get batch items
    batch_items = client.collection("batch_items")
    pending = batch_items.filter("batchId = {:batch} && status = 'pending'", batch=batch_id)
    items = await step("get-batch", lambda: batch_items.get_list(1, 1000, filter=pending))()

    # Step 2: Process in parallel
    async def process(item):
        result = await process_item(item)
        await client.collection("batch_items").update(item["id"], {"status": "completed", "result": result})
        return result

    results = await asyncio.gather(*(step(f"process-{item['id']}", process)(item) for item in items.items))

    # Step 3: Aggregate results
    def aggregate():
        succeeded = sum(result["success"] for result in results)
        return {"total": len(items.items), "succeeded": succeeded, "failed": len(results) - succeeded}

    summary = await step("aggregate", aggregate)()

    # Step 4: Update batch
    await step(
        "update-batch", lambda: client.collection("batches").update(batch_id, {"status": "completed", "summary": summary})
    )()

    return summary


async def main():
    async with client, client.worker(batch_process):
        await client.collection("batches").upsert({"id": "batch-1", "status": "pending"})
        await client.collection("batch_items").upsert_many(
            [{"id": f"item-{n}", "batchId": "batch-1", "status": "pending", "value": n} for n in range(6)]
        )
        run = await client.workflow.trigger("batch-process", [{"batchId": "batch-1"}])
        print(await client.workflow.result(run))
        print((await client.collection("batches").get_one("batch-1"))["status"])


if __name__ == "__main__":
    asyncio.run(main())
