"""Handle errors for a whole workflow: note what happened as an event, then let the run fail."""

import asyncio
import os

from stepwell import AsyncClient, StepFailed, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def risky_operation(works):
    if not works:
        raise OSError("it did not work")
    return "it worked"


@workflow("error-handling")
async def error_handling(ctx, input):
    try:
        return await step("risky-operation", risky_operation)(input["works"])
    except StepFailed as error:
        await client.workflow.emit_event(ctx.run_id, "error", {"error": error.message, "at": ctx.now()})
        raise


async def main():
    async with client, client.worker(error_handling):
        for works in (True, False):
            run = await client.workflow.trigger(error_handling, {"works": works})
            over = await client.workflow.wait(run.run_id)
            events = await client.workflow.get_events(run.run_id)
            print(over.status, [event.payload["error"] for event in events if event.event_type == "error"])


if __name__ == "__main__":
    asyncio.run(main())
