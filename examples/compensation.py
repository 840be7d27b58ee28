"""Book a trip: if one part of it cannot be had, those that were booked before are given back, the last first."""

import asyncio
import os

from stepwell import AsyncClient, RunCancelled, RunFailed, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def book(what):
    if what == "a car on an island":
        raise LookupError("there are no cars there")
    print(f"booked {what}")
    return {"booking": what}


async def give_back(booking):
    print(f"gave back {booking['booking']}")


@workflow("book-trip")
async def book_trip(ctx, input):
    for part in input[0]["parts"]:
        await step("book", book, compensate=give_back, retries=2, retry_delay="10ms")(part)
    await ctx.wait_for_signal("paid")
    return {"booked": len(input[0]["parts"])}


async def main():
    async with client, client.worker(book_trip):
        run = await client.workflow.trigger(book_trip, [{"parts": ["a flight", "a hotel", "a car on an island"]}])
        try:
            await client.workflow.result(run)
        except RunFailed as failure:
            print(failure.run.error)

        run = await client.workflow.trigger(book_trip, [{"parts": ["a train", "a tent"]}])
        async for event in client.workflow.stream_events(run.run_id):
            if event.payload and event.payload.get("result") == {"booking": "a tent"}:
                await client.workflow.cancel(run.run_id, reason="it rains")
        try:
            await client.workflow.result(run)
        except RunCancelled as cancelled:
            print(cancelled.run.status, cancelled.reason)


if __name__ == "__main__":
    asyncio.run(main())
