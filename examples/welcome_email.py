"""Send a welcome email in three steps. A crash between two of them neither loses the email nor fetches the user again."""

import asyncio
import os

from stepwell import AsyncClient, WorkflowWorker, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def get_user(user_id):
    return await client.collection("_users").get_one(user_id)


def generate_welcome_email(user):
    return {"to": user["email"], "subject": f"Welcome, {user['name']}!"}


async def send_email(email):
    print(f"to {email['to']}: {email['subject']}")


@workflow("send-welcome-email")
async def send_welcome_email(ctx, input):
    user_id = input[0]["userId"]
    user = await step("fetch-user", get_user)(user_id)
    email = await step("generate-email", generate_welcome_email)(user)
    await step("send-email", send_email)(email)
    return {"success": True, "userId": user_id}


async def main():
    async with client, WorkflowWorker(client) as worker:
        await client.collection("_users").upsert({"id": "user-123", "name": "Ada", "email": "ada@example.org"})
        await worker.start("send-welcome-email")
        run = await client.workflow.trigger("send-welcome-email", [{"userId": "user-123"}])
        print(await client.workflow.result(run.run_id))


if __name__ == "__main__":
    asyncio.run(main())
