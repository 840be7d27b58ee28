"""Fetch a user, enrich what is known of them, save it, and tell them."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


class ExternalService:
    async def enrich(self, user):
        return {"email": user["email"], "city": user["city"], "timeZone": {"Lisbon": "Europe/Lisbon"}[user["city"]]}


class NotificationService:
    async def send(self, email, text):
        print(f"to {email}: {text}")


external_service = ExternalService()
notification_service = NotificationService()


@workflow("process-user-data")
async def process_user_data(ctx, input):
    user_id = input[0]["userId"]

    # Step 1: Fetch user
    user = await step("fetch-user", lambda: client.collection("_users").get_one(user_id))()

    # Step 2: Enrich data
    enriched = await step("enrich-data", lambda: external_service.enrich(user))()

    # Step 3: Save enriched data
    await step("save-data", lambda: client.collection("user_profiles").update(user_id, enriched))()

    # Step 4: Send notification
    await step("send-notification", lambda: notification_service.send(user["email"], "Profile updated"))()

    return {"success": True}


async def main():
    async with client, client.worker(process_user_data):
        await client.collection("_users").upsert({"id": "user-123", "email": "ada@example.org", "city": "Lisbon"})
        await client.collection("user_profiles").upsert({"id": "user-123"})
        run = await client.workflow.trigger("process-user-data", [{"userId": "user-123"}])
        print(await client.workflow.result(run))
        print((await client.collection("user_profiles").get_one("user-123"))["timeZone"])


if __name__ == "__main__":
    asyncio.run(main())
