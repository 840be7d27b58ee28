"""The workflows that are measured: as trivial as can be, so that what is left is the engine."""

import time
from datetime import UTC, datetime
from typing import Any

from stepwell import step, workflow


@step("work")
async def work(n: int) -> dict[str, Any]:
    """A body that takes no time."""
    return {"ok": True, "n": n}


@workflow("ten-steps")
async def ten_steps(ctx: Any, input: Any) -> int:
    total = 0
    for n in range(10):
        total += (await work(n))["n"]
    return total


@workflow("fan-out")
async def fan_out(ctx: Any, input: int) -> int:
    results = await ctx.parallel([lambda n=n: work(n) for n in range(input)])
    return len(results)


@workflow("long", max_events=1_000_000)
async def long(ctx: Any, input: int) -> int:
    for n in range(input):
        await work(n)
    return input


@workflow("await-signal")
async def await_signal(ctx: Any, input: Any) -> Any:
    return await ctx.wait_for_signal("go")


LATENESS: list[float] = []
"""Seconds between when a sleeper was to wake and when it did."""


@workflow("sleeper")
async def sleeper(ctx: Any, input: float) -> None:
    await ctx.sleep_until(datetime.fromtimestamp(input, UTC))
    LATENESS.append(time.time() - input)


WORKFLOWS = (ten_steps, fan_out, long, await_signal, sleeper)
