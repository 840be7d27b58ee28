"""The process that ``kill`` kills: works on a file until all its runs are over."""

import asyncio
import os
import sys
from typing import Any

from bench.harness import run, settings
from bench.kill import CONCURRENCY, RUNS, STEP_S, STEPS
from stepwell import AsyncClient, current_step, step, workflow

BEGUN = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if __name__ == "__main__" else -1


@step("slow")
async def slow(n: int) -> int:
    me = current_step()
    os.write(BEGUN, f"{me.run_id} {me.step_id}\n".encode())
    await asyncio.sleep(STEP_S)
    return n


@workflow("slow-steps")
async def slow_steps(ctx: Any, input: Any) -> int:
    return sum([await slow(n) for n in range(STEPS)])


async def main() -> None:
    client = AsyncClient(f"sqlite:///{sys.argv[1]}", settings=settings())
    async with client, client.worker(slow_steps, concurrency=CONCURRENCY):
        while (await client.workflow.stats()).runs["completed"] < RUNS:
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    run(main())
