"""Three ways to hand a step its arguments: ``input=``, a call, and a decorated function."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def process_data(data):
    return {"processed": True, "length": len(data)}


@step("convert", timeout="30s")
def convert(amount, *, rate):
    return round(amount * rate, 2)


@workflow("process")
async def process(ctx, input):
    by_input = await step("process-data", process_data, input=input["data"])()
    by_call = await step("process-data", process_data)(input["data"])
    return [by_input, by_call, await convert(input["amount"], rate=1.08)]


async def main():
    async with client, client.worker(process):
        run = await client.workflow.trigger(process, {"data": [1, 2, 3], "amount": 100})
        print(await client.workflow.result(run))


if __name__ == "__main__":
    asyncio.run(main())
