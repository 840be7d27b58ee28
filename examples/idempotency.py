"""Two triggers with one idempotency key make one run. The same key with another input is refused."""

import asyncio
import os

from stepwell import AsyncClient, ConflictError, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))
charged = []


async def charge(order):
    charged.append(order["id"])


@workflow("my-workflow")
async def my_workflow(ctx, input):
    await step("charge", charge)(input[0])
    return {"charged": input[0]["id"]}


async def main():
    async with client, client.worker(my_workflow):
        order = {"id": "order-1", "amount": 40}
        first = await client.workflow.trigger("my-workflow", [order], idempotency_key="unique-key-123")
        second = await client.workflow.trigger("my-workflow", [order], idempotency_key="unique-key-123")
        print(f"the same run: {first.run_id == second.run_id}; made by the second trigger: {second.created}")
        try:
            await client.workflow.trigger("my-workflow", [{"id": "order-2"}], idempotency_key="unique-key-123")
        except ConflictError as error:
            print(f"refused: {error.code}")
        print(await client.workflow.result(first), charged)


if __name__ == "__main__":
    asyncio.run(main())
