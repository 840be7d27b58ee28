"""Process the pending items of a batch at the same time, count what succeeded, and store the summary."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))
batches = {"batch-1": {"status": "pending"}}
batch_items = {
    f"item-{number}": {"id": f"item-{number}", "batchId": "batch-1", "status": "pending", "value": number} for number in range(6)
}


async def get_batch(batch_id):
    return [item for item in batch_items.values() if item["batchId"] == batch_id and item["status"] == "pending"]


async def process_item(item):
    result = {"success": item["value"] != 3}
    batch_items[item["id"]].update(status="completed", result=result)
    return result


async def aggregate(results):
    succeeded = sum(result["success"] for result in results)
    return {"total": len(results), "succeeded": succeeded, "failed": len(results) - succeeded}


async def update_batch(batch_id, summary):
    batches[batch_id].update(status="completed", summary=summary)


@workflow("batch-process")
async def batch_process(ctx, input):
    batch_id = input[0]["batchId"]
    items = await step("get-batch", get_batch)(batch_id)
    results = await asyncio.gather(*(step(f"process-{item['id']}", process_item)(item) for item in items))
    summary = await step("aggregate", aggregate)(results)
    await step("update-batch", update_batch)(batch_id, summary)
    return summary


async def main():
    async with client, client.worker(batch_process):
        run = await client.workflow.trigger("batch-process", [{"batchId": "batch-1"}])
        print(await client.workflow.result(run))
        print(batches["batch-1"]["status"])


if __name__ == "__main__":
    asyncio.run(main())
