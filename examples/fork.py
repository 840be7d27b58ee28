"""Fork a run: try again with another input, from behind what was expensive, and leave the run itself alone."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def fetch():
    print("fetching what takes an hour")
    return list(range(1, 11))


@workflow("statistics")
async def statistics(ctx, what):
    numbers = await step("fetch", fetch)()
    figure = await step("compute", {"sum": sum, "largest": max}[what])(numbers)
    return {what: figure}


async def main():
    async with client, client.worker(statistics):
        run = await client.workflow.trigger(statistics, "sum")
        print(await client.workflow.result(run))
        events = await client.workflow.get_events(run.run_id)
        fetched = next(event.seq for event in events if event.step_id == "fetch")
        fork = await client.workflow.fork(run.run_id, from_event=fetched, input="largest")
        print(await client.workflow.result(fork))
        forked = next(e for e in await client.workflow.get_events(fork.run_id) if e.event_type == "run_forked")
        print(f"it shares {forked.payload['fromEvent']} events with the first:", forked.payload["sourceRunId"] == run.run_id)


if __name__ == "__main__":
    asyncio.run(main())
