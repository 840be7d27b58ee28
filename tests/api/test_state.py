"""What a run shows of itself, and which changes of its code it has."""

from typing import Any

import pytest

from stepwell import AsyncClient, Context, NotSerializableError, Settings, Workflow, step
from tests.api.tools import events_of, executed, seen, waits_for


def _defined(fn: Any) -> Workflow[Any, Any]:
    """Define a workflow without registering it: another version of its code follows."""
    return Workflow("stated", fn)


async def test_the_last_state_is_shown_while_the_run_goes_on_and_when_it_is_over(client: AsyncClient):
    async def stated(ctx: Context) -> str:
        await ctx.set_state({"progress": 1})
        await ctx.set_state({"progress": 2, "of": [3]})
        await ctx.wait_for_signal("go")
        return "done"

    async with client.worker(_defined(stated)):
        run = await client.workflow.trigger("stated")
        assert run.state is None
        assert (await waits_for(client, run.run_id, "signal")).state == {"progress": 2, "of": [3]}
        assert (await client.workflow.get_runs()).items[0].state == {"progress": 2, "of": [3]}
        await client.workflow.send_signal(run.run_id, "go")
        assert (await client.workflow.wait(run.run_id, 30)).state == {"progress": 2, "of": [3]}
    assert [event.payload for event in await events_of(client, run.run_id, "state_set")] == [
        {"state": {"progress": 1}}, {"state": {"progress": 2, "of": [3]}},
    ]  # fmt: skip


async def test_a_state_that_is_no_json_is_refused_and_changes_nothing(client: AsyncClient):
    async def stated(ctx: Context) -> str:
        with pytest.raises(NotSerializableError, match="state"):
            await ctx.set_state({"a": object()})
        return "done"

    run = await executed(client, _defined(stated))
    assert (run.output, run.state) == ("done", None)


@pytest.mark.parametrize("settings", [Settings(waiting_shown_ms=1, keep_ms=0)])
async def test_a_state_is_recorded_once_however_often_the_run_is_replayed(client: AsyncClient):
    # promise 5
    async def stated(ctx: Context) -> int:
        for number in range(3):
            await ctx.set_state(number)
            await ctx.wait_for_signal("go")
        return 3

    async with client.worker(_defined(stated)):
        run = await client.workflow.trigger("stated")
        for _ in range(3):
            await waits_for(client, run.run_id, "signal")
            await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, 30) == 3
    assert [event.payload["state"] for event in await events_of(client, run.run_id, "state_set")] == [0, 1, 2]


async def _old(ctx: Context) -> list[Any]:
    first = await step("first", lambda: 1)()
    await ctx.wait_for_signal("go")
    return [first, await step("charge", lambda: "old")()]


async def _new(ctx: Context) -> list[Any]:
    first = await step("first", lambda: 1)()
    early = await ctx.patched("early")
    await ctx.wait_for_signal("go")
    if await ctx.patched("charge-anew"):
        return [first, early, await step("charge-anew", lambda: "new")()]
    return [first, early, await step("charge", lambda: "old")()]


async def test_a_run_that_reaches_a_change_after_it_was_made_goes_the_new_way(client: AsyncClient):
    async with client.worker(_defined(_old)):
        run = await client.workflow.trigger("stated")
        await waits_for(client, run.run_id, "signal")
    async with client.worker(_defined(_new)):
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, 30) == [1, True, "new"]
    assert (await events_of(client, run.run_id, "patch_marked"))[-1].name == "charge-anew"


async def test_a_run_that_had_gone_on_from_there_stays_on_the_old_way_for_good(client: AsyncClient):
    async def old(ctx: Context) -> list[Any]:
        charged = await step("charge", lambda: "old")()
        await ctx.wait_for_signal("go")
        return [charged]

    async def new(ctx: Context) -> list[Any]:
        if await ctx.patched("charge-anew"):
            charged = await step("charge-anew", lambda: "new")()
        else:
            charged = await step("charge", lambda: "old")()
        for _ in range(2):
            await ctx.wait_for_signal("go")
        return [charged, await ctx.patched("charge-anew")]

    async def without(ctx: Context) -> list[Any]:
        charged = await step("charge", lambda: "old")()
        for _ in range(3):
            await ctx.wait_for_signal("go")
        return [charged]

    async with client.worker(_defined(old)):
        run = await client.workflow.trigger("stated")
        await waits_for(client, run.run_id, "signal")
    async with client.worker(_defined(new)):
        await client.workflow.send_signal(run.run_id, "go")
        await seen(client, run.run_id, "signal_received")
    async with client.worker(_defined(new)):
        twin = await client.workflow.trigger("stated")
        await client.workflow.send_signal(twin.run_id, "go")
        await client.workflow.send_signal(twin.run_id, "go")
        assert await client.workflow.result(twin.run_id, 30) == ["new", True]
        await waits_for(client, run.run_id, "signal")
    async with client.worker(_defined(without)):  # the question is taken out again, which is no misfit
        await client.workflow.send_signal(run.run_id, "go")
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, 30) == ["old"]
    assert [event.payload for event in await events_of(client, run.run_id, "patch_marked")] == [{"patched": False}]


async def test_a_run_that_is_new_has_all_changes(client: AsyncClient):
    async with client.worker(_defined(_new)):
        run = await client.workflow.trigger("stated")
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, 30) == [1, True, "new"]
