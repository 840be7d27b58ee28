"""Wait for a manager's decision, for minutes or months. One expense is approved here, one rejected."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def request_expense(amount):
    return {"status": "pending", "amount": amount}


async def process_payment(amount):
    print(f"paid {amount}")


async def notify_rejection(reason):
    print(f"told them: {reason}")


@workflow("approval-workflow")
async def approval_workflow(ctx, input):
    amount = input[0]["amount"]
    await step("request-expense", request_expense)(amount)
    approval = await ctx.wait_for_signal("manager-approval")
    if approval["approved"]:
        await step("process-payment", process_payment)(amount)
        return {"status": "approved"}
    await step("notify-rejection", notify_rejection)(approval["reason"])
    return {"status": "rejected", "reason": approval["reason"]}


async def main():
    async with client, client.worker(approval_workflow):
        for amount, decision in (
            (120, {"approved": True, "comment": "Approved for processing"}),
            (9000, {"approved": False, "reason": "too much"}),
        ):
            run = await client.workflow.trigger("approval-workflow", [{"amount": amount}])
            await client.workflow.send_signal(run.run_id, "manager-approval", decision)
            print(await client.workflow.result(run))


if __name__ == "__main__":
    asyncio.run(main())
