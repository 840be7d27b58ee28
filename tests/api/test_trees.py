"""Trees of runs: deep and wide ones on a worker that executes one at a time, and what a cancel does to them."""

from typing import Any

from stepwell import AsyncClient, ChildFailed, Context, WorkflowWorker, step, workflow
from tests.api.tools import ran, seen, waits_for

WITHIN_S = 120


@workflow("tree-deep")
async def deep(ctx: Context, depth: int) -> int:
    if depth == 0:
        return await step("leaf", lambda: 1)()
    return 1 + await ctx.run_child(deep, depth - 1)


@workflow("tree-leaf")
async def leaf(ctx: Context, number: int) -> int:
    return number


@workflow("tree-wide")
async def wide(ctx: Context, count: int) -> int:
    return sum(await ctx.parallel([lambda n=n: ctx.run_child(leaf, n) for n in range(count)]))


async def test_a_worker_that_executes_one_run_at_a_time_finishes_a_tree_of_fifty(client: AsyncClient):
    # trap 32, and a parent that waits holds nothing
    worker = WorkflowWorker(client, concurrency=1)
    await worker.start(deep)
    run = await client.workflow.trigger(deep, 50)
    assert await client.workflow.result(run, WITHIN_S) == 51
    await worker.stop()


async def test_a_worker_that_executes_one_run_at_a_time_finishes_hundreds_of_children(client: AsyncClient):
    worker = WorkflowWorker(client, concurrency=1)
    await worker.start(wide, leaf)
    run = await client.workflow.trigger(wide, 300)
    assert await client.workflow.result(run, WITHIN_S) == sum(range(300))
    await worker.stop()
    children = [child async for child in client.workflow.iter_runs(leaf, "completed", run.run_id)]
    assert len(children) == 300


@workflow("tree-waits")
async def waits(ctx: Context) -> Any:
    return await ctx.wait_for_signal("go")


@workflow("tree-mixed")
async def mixed(ctx: Context) -> Any:
    await ctx.start_child(waits, run_id=f"{ctx.run_id}-detached")
    one = await ctx.start_child(waits, run_id=f"{ctx.run_id}-one")
    two = await ctx.start_child(waits, run_id=f"{ctx.run_id}-two")
    both = [lambda: ctx.run_child(waits, run_id=f"{ctx.run_id}-three"), lambda: _result(one), lambda: _result(two)]
    return await ctx.parallel(both)


_clients: list[AsyncClient] = []


async def _result(run: Any) -> Any:
    return await _clients[-1].workflow.result(run)


async def _statuses(client: AsyncClient, run_id: str) -> dict[str, str]:
    return {name: (await client.workflow.get_run(f"{run_id}-{name}")).status for name in ("detached", "one", "two", "three")}


async def test_a_cancel_reaches_the_children_that_are_waited_for_and_no_others(client: AsyncClient):
    # promise 9
    _clients.append(client)
    async with client.worker(mixed, waits):
        for run_id, children in (("taken", True), ("left", False)):
            await client.workflow.trigger(mixed, run_id=run_id)
            await seen(client, run_id, "child_started", 3)
            await client.workflow.cancel(run_id, children=children)
        assert await _statuses(client, "taken") == {
            "detached": "running", "one": "cancelled", "two": "cancelled", "three": "cancelled"
        }  # fmt: skip
        for name in ("detached", "one", "two", "three"):
            await waits_for(client, f"left-{name}", "signal")
            await client.workflow.send_signal(f"left-{name}", "go", name)
            assert await client.workflow.result(f"left-{name}", WITHIN_S) == name


@workflow("tree-first")
async def first_of_several(ctx: Context) -> Any:
    key, value = await ctx.race({
        "slow": lambda: ctx.run_child(waits, run_id=f"{ctx.run_id}-slow"), "quick": lambda: ctx.run_child(leaf, 7),
    })  # fmt: skip
    await ctx.wait_for_signal("go")
    return [key, value]


async def test_the_first_of_several_children_is_the_same_when_replayed_and_the_others_go_on(client: AsyncClient):
    async with client.worker(first_of_several, waits, leaf):
        await client.workflow.trigger(first_of_several, run_id="first")
        await waits_for(client, "first", "signal")
    async with client.worker(first_of_several, waits, leaf):
        await client.workflow.send_signal("first", "go")
        assert await client.workflow.result("first", WITHIN_S) == ["quick", 7]
        assert (await client.workflow.get_run("first-slow")).status == "running"


@workflow("tree-failing-leaf")
async def failing_leaf(ctx: Context, number: int) -> None:
    raise ValueError(f"leaf {number}")


@workflow("tree-catches")
async def catches(ctx: Context) -> Any:
    told: list[Any] = []
    for number in range(2):
        try:
            await ctx.run_child(failing_leaf, number)
        except ChildFailed as error:
            told.append([error.type, error.message, error.is_a(ValueError), error.run.status])
    told.append(await ctx.wait_for_signal("go"))
    return told


async def test_a_childs_failure_is_told_the_same_live_and_replayed(client: AsyncClient):
    # promise 5
    async with client.worker(catches, failing_leaf):
        run = await client.workflow.trigger(catches)
        await waits_for(client, run.run_id, "signal")
    async with client.worker(catches):
        await client.workflow.send_signal(run.run_id, "go", "on")
        output = await client.workflow.result(run.run_id, WITHIN_S)
    assert output == [["ValueError", f"leaf {number}", True, "failed"] for number in range(2)] + ["on"]


async def test_a_tree_is_looked_at_from_both_ends(client: AsyncClient):
    async with client.worker(deep):
        top = await ran(client, deep, 2)
    (middle,) = await client.workflow.get_child_runs(top.run_id)
    (bottom,) = await client.workflow.get_child_runs(middle.run_id)
    assert (await client.workflow.get_parent_run(bottom.run_id)).run_id == middle.run_id
    assert len(await client.workflow.get_child_runs(bottom.run_id)) == 0
