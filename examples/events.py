"""Put events of your own into a run's history, and read the history."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def process_data():
    return {"rows": 3}


@workflow("track-events")
async def track_events(ctx):
    await client.workflow.emit_event(ctx.run_id, "step-started", {"step": "process-data", "timestamp": ctx.now()})
    await step("process-data", process_data)()
    await client.workflow.emit_event(ctx.run_id, "step-completed", {"step": "process-data", "timestamp": ctx.now()})
    return {"success": True}


async def main():
    async with client, client.worker(track_events):
        run = await client.workflow.trigger(track_events)
        await client.workflow.wait(run.run_id)
        for event in await client.workflow.get_events(run.run_id):
            print(event.seq, event.event_type, event.name or "")


if __name__ == "__main__":
    asyncio.run(main())
