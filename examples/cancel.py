"""Cancel a run: no step of it starts any more, and who waits for its result is told."""

import asyncio
import os

from stepwell import AsyncClient, ConflictError, RunCancelled, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def remind(number):
    print(f"reminder {number}")


@workflow("reminders")
async def reminders(ctx):
    for number in range(1, 100):
        await step("remind", remind)(number)
        await ctx.sleep("7d")


async def main():
    async with client, client.worker(reminders):
        run = await client.workflow.trigger(reminders)
        async for event in client.workflow.stream_events(run.run_id):
            if event.event_type == "sleep_started":
                await client.workflow.cancel(run.run_id, reason="they have paid")
        try:
            await client.workflow.result(run)
        except RunCancelled as cancelled:
            print(cancelled.run.status, cancelled.reason)
        try:
            await client.workflow.send_signal(run.run_id, "anything")
        except ConflictError as error:
            print(f"a run that is over is over: {error.code}")


if __name__ == "__main__":
    asyncio.run(main())
