"""A workflow that starts others: one that it looks at now and then, and several that it waits for at the cost of nothing."""

import asyncio
import os

from stepwell import AsyncClient, ChildFailed, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def measure(name):
    if name == "nobody":
        raise LookupError("there is no such thing")
    return len(name)


@workflow("child-workflow")
async def child_workflow(ctx, input):
    return {"name": input[0], "size": await step("measure", measure)(input[0])}


@workflow("parent-workflow")
async def parent_workflow(ctx, input):
    polled = await client.workflow.trigger("child-workflow", [input[0]], parent_run_id=ctx.run_id)
    while (await client.workflow.get_run(polled.run_id)).status not in ("completed", "failed"):
        await ctx.sleep("10ms")
    sizes = [(await client.workflow.get_run(polled.run_id)).output["size"]]
    children = await ctx.map(lambda name: ctx.run_child(child_workflow, [name]), input[1:3])
    sizes += [child["size"] for child in children]
    try:
        await ctx.run_child(child_workflow, ["nobody"])
    except ChildFailed as error:
        print(f"{error.type}: {error.message}")
    return sum(sizes)


async def main():
    async with client, client.worker():
        run = await client.workflow.trigger("parent-workflow", ["oak", "ash", "willow"])
        print(await client.workflow.result(run))
        children = await client.workflow.get_child_runs(run.run_id)
        print(sorted(child.status for child in children))
        print((await client.workflow.get_parent_run(children.items[0].run_id)).run_id == run.run_id)


if __name__ == "__main__":
    asyncio.run(main())
