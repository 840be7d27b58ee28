"""Catch the failure of a step and go on. Raised again, or not caught, it fails the run."""

import asyncio
import os

from stepwell import AsyncClient, RunFailed, StepFailed, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def risky_operation(amount):
    if amount > 1000:
        raise ValueError(f"{amount} is over the limit")
    return {"paid": amount}


@workflow("careful")
async def careful(ctx, amount):
    try:
        return await step("risky-operation", risky_operation)(amount)
    except StepFailed as error:
        if not error.is_a(ValueError):
            raise
        return {"paid": 0, "why": error.message}


@workflow("careless")
async def careless(ctx, amount):
    return await step("risky-operation", risky_operation)(amount)


async def main():
    async with client, client.worker(careful, careless):
        for wf, amount in ((careful, 10), (careful, 5000), (careless, 5000)):
            run = await client.workflow.trigger(wf, amount)
            try:
                print(f"{wf.name}: {await client.workflow.result(run)}")
            except RunFailed as failure:
                print(f"{wf.name}: {failure.run.status}, {failure.run.error}")


if __name__ == "__main__":
    asyncio.run(main())
