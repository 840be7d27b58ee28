"""Fetch a user, enrich what is known of them, save it, and tell them."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))
users = {"user-123": {"id": "user-123", "email": "ada@example.org", "city": "Lisbon"}}
user_profiles = {}


async def get_user(user_id):
    return users[user_id]


async def enrich(user):
    return {**user, "timeZone": {"Lisbon": "Europe/Lisbon"}[user["city"]]}


async def save(user_id, enriched):
    user_profiles[user_id] = enriched


async def notify(email, text):
    print(f"to {email}: {text}")


@workflow("process-user-data")
async def process_user_data(ctx, input):
    user_id = input[0]["userId"]
    user = await step("fetch-user", get_user)(user_id)
    enriched = await step("enrich-data", enrich)(user)
    await step("save-data", save)(user_id, enriched)
    await step("send-notification", notify)(user["email"], "Profile updated")
    return {"success": True}


async def main():
    async with client, client.worker(process_user_data):
        run = await client.workflow.trigger("process-user-data", [{"userId": "user-123"}])
        print(await client.workflow.result(run))
        print(user_profiles["user-123"]["timeZone"])


if __name__ == "__main__":
    asyncio.run(main())
