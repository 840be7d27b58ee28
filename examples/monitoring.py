"""See what runs do: one run, a list of runs, why one does not move, and its events as they come."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def greet(name):
    if not name:
        raise ValueError("nobody to greet")
    return f"hello, {name}"


@workflow("greeting")
async def greeting(ctx, name):
    await ctx.wait_for_signal("go")
    return await step("greet", greet)(name)


async def main():
    async with client, client.worker(greeting):
        ada = await client.workflow.trigger(greeting, "Ada")
        nobody = await client.workflow.trigger(greeting, "")
        async for event in client.workflow.stream_events(ada.run_id):
            if event.event_type == "run_started":
                await client.workflow.send_signal(ada.run_id, "go")
            print(event.event_type)
        await client.workflow.send_signal(nobody.run_id, "go")
        await client.workflow.wait(nobody.run_id)

        run = await client.workflow.get_run(nobody.run_id)
        print(run.status, run.started_at < run.completed_at, run.error)
        runs = await client.workflow.get_runs(workflow_name="greeting", status="completed", limit=20, include=("output",))
        print([run.output for run in runs])
        print((await client.workflow.why(ada.run_id)).split(" since ")[0])


if __name__ == "__main__":
    asyncio.run(main())
