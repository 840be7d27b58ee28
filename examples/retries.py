"""Try a step again: three times more, a second apart. A restart neither forgets the count nor begins the wait anew."""

import asyncio
import os

from stepwell import AsyncClient, current_step, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def potentially_failing_operation():
    attempt = current_step().attempt
    print(f"attempt {attempt}")
    if attempt < 3:
        raise ConnectionError("no answer")
    return {"attempts": attempt}


@workflow("retrying")
async def retrying(ctx):
    return await step("retryable-step", potentially_failing_operation, retries=3, retry_delay=1000)()


async def main():
    async with client, client.worker(retrying):
        run = await client.workflow.trigger(retrying)
        print(await client.workflow.result(run))


if __name__ == "__main__":
    asyncio.run(main())
