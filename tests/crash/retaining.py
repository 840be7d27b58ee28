"""A node that removes what its workflow does not keep, in a process to be killed. ``python -m tests.crash.retaining``.

``workflow_kept`` is the same workflow with another retention, for who makes its runs.
"""

import asyncio
import os
from typing import Any

from stepwell import AsyncClient, Context, Workflow, WorkflowWorker, step, workflow


def workflow_kept(retention: str | None) -> Workflow[Any, Any]:
    """Return a workflow whose runs leave something in each table."""

    @workflow("kept", retention=retention)
    async def kept(ctx: Context, input: Any) -> Any:
        kind, steps = input
        for number in range(steps):
            await step("note", str)(number)
        if kind in ("parent", "holds"):
            await ctx.run_child(kept, ["plain", 1], run_id=f"{ctx.run_id}-child")
        if kind in ("signal", "holds"):
            return await ctx.wait_for_signal("go")
        if kind == "hook":
            hook = await ctx.create_hook("ask", "approve", 1)
            return await ctx.wait_for_hook(hook.token)
        return kind

    return kept


async def _live() -> None:
    async with AsyncClient(os.environ["STEPWELL_URL"]) as client:
        worker = WorkflowWorker(client)
        await worker.start(workflow_kept("1ms"))
        await worker.run()


if __name__ == "__main__":
    asyncio.run(_live())
