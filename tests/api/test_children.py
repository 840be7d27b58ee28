"""Children: runs that other runs start, wait for, and take along when they are cancelled."""

import asyncio
from typing import Any

import pytest

from stepwell import AsyncClient, ChildFailed, Context, NotFoundError, RunCancelled, Settings, step, workflow
from tests.api.tools import executed, ran, seen, waits_for

EVICTING = pytest.mark.parametrize("settings", [Settings(waiting_shown_ms=1, keep_ms=0)])
_client: list[AsyncClient] = []


@pytest.fixture(autouse=True)
def _known(client: AsyncClient) -> None:
    _client[:] = [client]


@workflow("children-leaf")
async def leaf(ctx: Context, value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value * 2


@workflow("children-waiting")
async def waiting(ctx: Context) -> Any:
    return await ctx.wait_for_signal("go")


@workflow("children-tree")
async def tree(ctx: Context, depth: int) -> int:
    return 0 if depth == 0 else 1 + int(await ctx.run_child("children-tree", depth - 1))


@workflow("children-fan")
async def fan(ctx: Context, width: int) -> int:
    return sum(await ctx.map(lambda number: ctx.run_child(leaf, number), range(width)))


@pytest.mark.parametrize(("keep_ms", "width"), [(0, 50), (5_000, 200)])
async def test_a_waiting_parent_holds_nothing_so_one_place_is_enough_for_a_tree_and_a_fan(url: str, keep_ms: int, width: int):
    async with AsyncClient(url, settings=Settings(keep_ms=keep_ms)) as client, client.worker(tree, fan, leaf, concurrency=1):
        assert await client.workflow.result(await client.workflow.trigger(tree, 50), 60) == 50
        assert await client.workflow.result(await client.workflow.trigger(fan, width), 60) == width * (width - 1)
        assert await client.check_store() == []


@workflow("children-parent")
async def parent(ctx: Context) -> list[Any]:
    flows = _client[0].workflow
    child = await flows.trigger("children-leaf", 3, parent_run_id=ctx.run_id)
    for _ in range(10_000):  # the specification's polling loop
        if (await flows.get_run(child.run_id)).status == "completed":
            break
        await ctx.sleep("5ms")
    return [(await flows.get_run(child.run_id)).output, await flows.result(child), (await flows.wait(child.run_id)).status]


@EVICTING
async def test_a_child_that_is_polled_and_waited_for_as_in_the_specification(client: AsyncClient):
    async with client.worker(leaf):
        run = await executed(client, parent)
        assert run.output == [6, 6, "completed"]
        (child,) = await client.workflow.get_child_runs(run.run_id)
    assert child.parent_run_id == run.run_id
    assert (await client.workflow.get_parent_run(child.run_id)).run_id == run.run_id
    with pytest.raises(NotFoundError, match="no parent"):
        await client.workflow.get_parent_run(run.run_id)
    with pytest.raises(NotFoundError, match="no run"):
        await client.workflow.get_child_runs("none")


@workflow("children-failing")
async def failing(ctx: Context) -> list[Any]:
    try:
        await ctx.run_child(leaf, -1)
    except ChildFailed as error:
        told = [str(error), error.type, error.message, error.is_a(ValueError), error.is_a(KeyError), error.run.status]
    await ctx.wait_for_signal("go")
    return told


@EVICTING
async def test_a_childs_failure_reaches_the_parent_live_and_replayed_alike(client: AsyncClient):
    # promise 5
    async with client.worker(failing, leaf):
        run = await client.workflow.trigger(failing)
        await waits_for(client, run.run_id, "signal")
        await client.workflow.send_signal(run.run_id, "go")
        text, *rest = await client.workflow.result(run.run_id, 30)
    assert rest == ["ValueError", "-1 is negative", True, False, "failed"]
    assert "-1 is negative" in text


@workflow("children-uncaught")
async def uncaught(ctx: Context) -> Any:
    return await ctx.run_child(leaf, -1)


async def test_an_uncaught_failure_of_a_child_fails_the_parent_with_its_error(client: AsyncClient):
    async with client.worker(leaf):
        run = await executed(client, uncaught)
    assert run.error_details is not None
    assert (run.error_details.type, run.error_details.message) == ("ValueError", "-1 is negative")


@workflow("children-grandparent")
async def grandparent(ctx: Context) -> Any:
    return await ctx.run_child("children-middle")


@workflow("children-middle")
async def middle(ctx: Context) -> Any:
    await ctx.start_child(waiting, run_id=f"{ctx.run_id}-detached")
    return await ctx.run_child(waiting, run_id=f"{ctx.run_id}-awaited")


async def _family(client: AsyncClient) -> list[str]:
    """Start three generations; return the ids, the detached one last, once all wait."""
    await client.workflow.trigger(grandparent, run_id="grandparent")
    await waits_for(client, "grandparent", "child")
    (child,) = await client.workflow.get_child_runs("grandparent")
    await waits_for(client, child.run_id, "child")
    family = ["grandparent", child.run_id, f"{child.run_id}-awaited", f"{child.run_id}-detached"]
    for run_id in family[2:]:
        await waits_for(client, run_id, "signal")
    return family


@pytest.mark.parametrize("settings", [Settings(waiting_shown_ms=1), Settings(waiting_shown_ms=1, keep_ms=0)])
async def test_a_cancel_reaches_the_children_that_are_waited_for_and_no_others(client: AsyncClient):
    # promise 9
    async with client.worker(grandparent, middle, waiting):
        family = await _family(client)
        await client.workflow.cancel("grandparent", reason="enough")
        runs = [await client.workflow.get_run(run_id) for run_id in family]
    assert [run.status for run in runs] == ["cancelled", "cancelled", "cancelled", "running"]
    assert [run.cancel_reason for run in runs[:3]] == ["enough"] * 3


async def test_a_cancel_without_children_leaves_them_alone(client: AsyncClient):
    async with client.worker(grandparent, middle, waiting):
        family = await _family(client)
        await client.workflow.cancel("grandparent", children=False)
        assert [(await client.workflow.get_run(run_id)).status for run_id in family[:3]] == ["cancelled", "running", "running"]
        await client.workflow.send_signal(family[2], "go", "on")
        assert await client.workflow.result(family[1], 30) == "on"


async def test_a_cancelled_child_is_a_failed_one_to_its_parent(client: AsyncClient):
    async with client.worker(grandparent, middle, waiting):
        family = await _family(client)
        await client.workflow.cancel(family[2], reason="not this one")
        run = await client.workflow.wait("grandparent", 30)
    assert run.error_details is not None
    assert "not this one" in run.error_details.message


@workflow("children-impatient")
async def impatient(ctx: Context) -> list[Any]:
    child = await ctx.start_child(waiting)
    try:
        await _client[0].workflow.result(child, timeout="10ms")
    except TimeoutError:
        return ["late", await _client[0].workflow.result(child)]
    return ["in time"]


@EVICTING
async def test_a_wait_for_a_child_can_time_out_and_be_begun_again(client: AsyncClient):
    async with client.worker(impatient, waiting):
        run = await client.workflow.trigger(impatient)
        await seen(client, run.run_id, "signal_timed_out")
        (child,) = await client.workflow.get_child_runs(run.run_id)
        await client.workflow.send_signal(child.run_id, "go", "at last")
        assert await client.workflow.result(run.run_id, 30) == ["late", "at last"]


@workflow("children-of-others")
async def of_others(ctx: Context, run_id: str) -> Any:
    try:
        return await _client[0].workflow.result(run_id)
    except (NotFoundError, RunCancelled) as error:
        return type(error).__name__


async def test_any_run_can_be_waited_for_also_one_that_is_over_or_does_not_exist(client: AsyncClient):
    async with client.worker(leaf, of_others):
        over = await ran(client, leaf, 4)
        cancelled = await client.workflow.trigger(waiting)
        await client.workflow.cancel(cancelled.run_id)
        outputs = [(await ran(client, of_others, run_id)).output for run_id in (over.run_id, cancelled.run_id, "none")]
    assert outputs == [8, "RunCancelled", "NotFoundError"]


@workflow("children-first")
async def first_of_several(ctx: Context) -> Any:
    names = ("slow", "quick")
    return await ctx.race({name: lambda name=name: ctx.run_child(waiting, run_id=f"{ctx.run_id}-{name}") for name in names})


async def test_the_first_of_several_children(client: AsyncClient):
    async with client.worker(first_of_several, waiting):
        await client.workflow.trigger(first_of_several, run_id="first")
        for name in ("slow", "quick"):
            await waits_for_start(client, f"first-{name}")
        await client.workflow.send_signal("first-quick", "go", "here")
        assert await client.workflow.result("first", 30) == ["quick", "here"]


async def waits_for_start(client: AsyncClient, run_id: str) -> None:
    """Return once the run exists and waits."""
    while True:
        try:
            await waits_for(client, run_id, "signal")
            return
        except NotFoundError:
            await asyncio.sleep(0.002)


@workflow("children-retried-step")
async def in_a_step(ctx: Context) -> Any:
    async def start(numbers: list[int]) -> str:
        run = await _client[0].workflow.trigger(leaf, 1)
        numbers.append(1)
        if len(numbers) == 1:
            raise OSError("after the child was started")
        return run.run_id

    numbers: list[int] = []
    return await step("start", lambda: start(numbers), retries=1, retry_delay=0)()


async def test_a_step_that_is_tried_again_starts_no_second_child(client: AsyncClient):
    run = await executed(client, in_a_step)
    assert run.status == "completed"
    assert [each.run_id for each in await client.workflow.get_runs("children-leaf")] == [run.output]


@workflow("child-of-long-names")
async def of_long_names(ctx: Context) -> str:
    return ctx.run_id


@workflow("parent-with-a-long-name")
async def with_a_long_name(ctx: Context) -> Any:
    return (await ctx.start_child(of_long_names)).run_id


async def test_parents_whose_long_names_end_alike_have_children_of_their_own(client: AsyncClient):
    names = [f"{first}{'x' * 199}" for first in "ab"]
    async with client.worker(with_a_long_name, of_long_names):
        children = {(await ran(client, with_a_long_name, run_id=name)).output for name in names}
    assert len(children) == 2
