"""Send an alert when a step has failed for good: ``on_error`` gets the original exception, once, after the last attempt."""

import asyncio
import os

from stepwell import AsyncClient, RunFailed, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def process_data():
    raise RuntimeError("the disk is full")


async def alert(error):
    print(f"alert: {type(error).__name__}: {error}")


@workflow("watched")
async def watched(ctx):
    await step("process-data", process_data, retries=1, retry_delay="100ms", on_error=alert)()


async def main():
    async with client, client.worker(watched):
        run = await client.workflow.trigger(watched)
        try:
            await client.workflow.result(run)
        except RunFailed as failure:
            print(failure.run.error_details.attempts, "attempts:", failure.run.error)


if __name__ == "__main__":
    asyncio.run(main())
