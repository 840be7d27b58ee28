"""Take an order through five steps. The payment service is handed a key that stays the same however often the step is tried."""

import asyncio
import os

from stepwell import AsyncClient, RunFailed, current_step, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))
orders = {"order-7": {"id": "order-7", "items": ["book", "pen"], "total": 31, "email": "ada@example.org"}}
payments = {}


@step("validate-order")
async def validate_order(order_id):
    if order_id not in orders:
        raise LookupError(f"there is no order {order_id!r}")
    return orders[order_id]


@step("process-payment", retries=3, retry_delay="1s")
async def charge(order):
    return payments.setdefault(current_step().idempotency_key, {"charged": order["total"]})


@step("update-inventory")
async def reserve(items):
    return {"reserved": len(items)}


@step("ship-order")
async def ship(order):
    return {"parcel": f"parcel-of-{order['id']}"}


@step("send-confirmation")
async def confirm(email, text):
    print(f"to {email}: {text}")


@workflow("process-order")
async def process_order(ctx, input):
    order = await validate_order(input[0]["orderId"])
    payment = await charge(order)
    await reserve(order["items"])
    parcel = await ship(order)
    await confirm(order["email"], "Order confirmed")
    return {"shipped": True, **payment, **parcel}


async def main():
    async with client, client.worker(process_order):
        for order_id in ("order-7", "order-8"):
            run = await client.workflow.trigger("process-order", [{"orderId": order_id}])
            try:
                print(await client.workflow.result(run))
            except RunFailed as failure:
                print(failure.run.error)


if __name__ == "__main__":
    asyncio.run(main())
