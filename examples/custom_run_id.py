"""Give a run an id of your own, and find it by that. Triggering it again gives the run that is there."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def double(number):
    return 2 * number


@workflow("my-workflow")
async def my_workflow(ctx, input):
    return {"run": ctx.run_id, "doubled": await step("double", double)(input[0])}


async def main():
    async with client, client.worker(my_workflow):
        run = await client.workflow.trigger("my-workflow", [21], run_id="custom-run-id-123")
        print(run.run_id)
        again = await client.workflow.trigger("my-workflow", [21], run_id="custom-run-id-123")
        print(f"made by the second trigger: {again.created}")
        print(await client.workflow.result("custom-run-id-123"))


if __name__ == "__main__":
    asyncio.run(main())
