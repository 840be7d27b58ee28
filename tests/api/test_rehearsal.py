"""Replaying recorded histories against changed code, without effects: what would break, and what has to be decided."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepwell import AsyncClient, Context, Run, StepFailed, Workflow, step, workflow
from stepwell.execution.histories import assignment_of
from stepwell.execution.rehearsal import Finding, Rehearsal, rehearse
from tests.api.tools import ran, waits_for

Body = Callable[[Context], Awaitable[Any]]
bodies: list[str] = []


@pytest.fixture(autouse=True)
def _no_bodies() -> None:
    bodies.clear()


def one(name: str, result: Any = 1, **options: Any) -> Callable[..., Awaitable[Any]]:
    """Return a step that notes that it ran."""

    async def body(*args: Any) -> Any:
        bodies.append(name)
        if isinstance(result, Exception):
            raise result
        return result

    return step(name, body, **options)


def deployed(body: Body) -> Workflow[Any, Any]:
    """Define the one workflow of this module with this code."""

    @workflow("rehearsed")
    async def wf(ctx: Context) -> Any:
        return await body(ctx)

    return wf


async def left_waiting(client: AsyncClient, body: Body, kind: str = "signal") -> str:
    """Return a run that this code has brought to a wait, and that nobody executes."""
    wf = deployed(body)
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, kind)
    return run.run_id


async def rehearsed(client: AsyncClient, run_id: str, body: Body, **options: Any) -> Rehearsal:
    """Replay a run's history against this code; make sure that it is not touched by that."""
    bodies.clear()
    run, events = await client.workflow.get_run(run_id), await client.workflow.get_events(run_id)
    found = await rehearse(assignment_of(run, events), deployed(body).execute, client.workflow, **options)
    assert bodies == []
    after: Run[Any] = await client.workflow.get_run(run_id)
    assert (after.updated_at, after.event_count) == (run.updated_at, run.event_count)
    return found


def told(found: Rehearsal) -> list[tuple[str, str]]:
    """Return of each finding its verdict and what it says."""
    return [(finding.verdict, finding.text) for finding in found.findings]


async def waiting(ctx: Context) -> Any:
    a = await one("a")()
    b = await one("b")(a)
    got = await ctx.wait_for_signal("go")
    return [a, b, got, await one("c")()]


async def test_code_that_has_not_changed_fits(client: AsyncClient):
    run_id = await left_waiting(client, waiting)
    found = await rehearsed(client, run_id, waiting)
    assert found == Rehearsal(run_id=run_id, findings=[], ended=None)
    assert found.fits


async def test_a_run_that_is_over_is_replayed_to_its_end(client: AsyncClient):
    run_id = await left_waiting(client, waiting)
    await client.workflow.send_signal(run_id, "go", {"x": [None, 1.5]})
    async with client.worker(deployed(waiting)):
        await client.workflow.wait(run_id, 30)
    assert await rehearsed(client, run_id, waiting) == Rehearsal(run_id=run_id, findings=[], ended="completed")

    async def other(ctx: Context) -> Any:
        return (await waiting(ctx))[1:]

    (finding,) = (await rehearsed(client, run_id, other)).findings
    assert (finding.verdict, finding.text) == ("decide", "the code returns another output")
    assert finding.recorded == 'output [1,1,{"x":[null,1.5]},1]'
    assert finding.asked == 'output [1,{"x":[null,1.5]},1]'


async def test_other_arguments_break_and_both_sides_and_the_line_are_told(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        await one("b")("something else")
        await ctx.wait_for_signal("go")

    found = await rehearsed(client, run_id, other)
    (finding,) = found.findings
    assert finding.verdict == "breaks"
    assert finding.recorded.startswith("step 'b' with other arguments (event 4, ")
    assert finding.asked.startswith("step 'b' with the fingerprint ")
    assert finding.line == f"{__file__}:{other.__code__.co_firstlineno + 1}"
    assert not found.fits


async def test_a_step_that_was_removed_breaks(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        await one("a")()
        await ctx.wait_for_signal("go")
        return await one("c")()

    found = await rehearsed(client, run_id, other)
    assert told(found) == [("breaks", "step_completed of 'b' (event 4) is recorded, and the code never asks for it")]
    assert found.findings[0].event == 4


async def test_a_step_that_was_renamed_breaks_and_what_would_run_twice_is_told(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        a = await one("a")()
        await one("renamed")(a)
        await ctx.wait_for_signal("go")

    found = await rehearsed(client, run_id, other)
    assert [finding.verdict for finding in found.findings] == ["decide", "breaks"]
    assert found.findings[0].asked == "step 'renamed'"
    assert found.findings[0].recorded == "step_completed of 'b' (event 4)"
    assert found.findings[0].line == f"{__file__}:{other.__code__.co_firstlineno + 2}"
    assert "'b'" in found.findings[1].text


async def test_a_step_that_was_added_before_something_recorded_is_to_be_decided(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        a = await one("a")()
        await one("new")()
        await one("b")(a)
        await ctx.wait_for_signal("go")

    found = await rehearsed(client, run_id, other)
    (finding,) = found.findings
    assert finding.verdict == "decide"
    assert "step 'new' is new, and would be done now" in finding.text


async def test_what_is_added_behind_the_history_is_no_change_for_the_run(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        a = await one("a")()
        await one("b")(a)
        await ctx.wait_for_signal("go")
        await one("much")()
        await one("more")()

    assert (await rehearsed(client, run_id, other)).findings == []


async def test_marks_may_be_added_anywhere_and_patched_sends_the_run_the_old_way(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        await ctx.set_state("begun")
        a = await one("a")()
        if await ctx.patched("new-b"):
            await one("new-b")(a)
        else:
            await one("b")(a)
        await ctx.wait_for_signal("go")

    found = await rehearsed(client, run_id, other)
    assert [finding.verdict for finding in found.findings] == ["harmless", "harmless"]
    assert "goes the old way" in found.findings[1].text
    assert found.fits


async def test_a_step_that_was_moved_behind_a_wait_for_a_signal_is_to_be_decided(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        await one("a")()
        await ctx.wait_for_signal("go")
        await one("b")(1)

    (finding,) = (await rehearsed(client, run_id, other)).findings
    assert finding.verdict == "decide"
    assert (
        finding.text
        == "step_completed of 'b' (event 4) was done already, and the code waits for 'signal:go' before it asks for that"
    )
    assert finding.line == f"{__file__}:{other.__code__.co_firstlineno + 2}"


async def test_a_step_that_was_moved_behind_the_sleep_that_is_under_way_is_harmless(client: AsyncClient):
    async def sleeping(ctx: Context) -> Any:
        await one("a")()
        await ctx.sleep("1h")

    async def other(ctx: Context) -> Any:
        await ctx.sleep("1h")
        await one("a")()

    run_id = await left_waiting(client, sleeping, "sleep")
    assert told(await rehearsed(client, run_id, other)) == [
        ("harmless", "step_completed of 'a' (event 3) is asked for later than it was recorded")
    ]


async def test_a_branch_that_was_added_before_something_recorded_is_to_be_decided(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        await ctx.parallel([one("new"), one("newer")])
        return await waiting(ctx)

    found = await rehearsed(client, run_id, other)
    assert [finding.verdict for finding in found.findings] == ["decide", "decide"]
    assert {finding.asked for finding in found.findings} == {"step 'parallel#0/0/new'", "step 'parallel#0/1/newer'"}


async def test_a_sleep_that_was_added_before_something_recorded_is_to_be_decided_unless_it_is_over_at_once(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        await ctx.sleep(0)
        await ctx.sleep("1h")
        return await waiting(ctx)

    (finding,) = (await rehearsed(client, run_id, other)).findings
    assert (finding.verdict, finding.asked) == ("decide", "sleep 'sleep:1'")


async def test_what_cannot_be_told_from_here_is_to_be_decided(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        await one("a")()
        got = await ctx.wait_for_signal("go")
        await one(got["name"])(1)

    (finding,) = (await rehearsed(client, run_id, other)).findings
    assert finding.verdict == "decide"
    assert "whether it is later cannot be told" in finding.text


async def test_an_error_in_the_code_breaks_and_its_line_is_told(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def other(ctx: Context) -> Any:
        await one("a")()
        raise LookupError("no such thing")

    found = await rehearsed(client, run_id, other)
    assert found.ended == "failed"
    broken = [finding for finding in found.findings if finding.line]
    assert [finding.verdict for finding in found.findings] == ["breaks", "breaks"]
    assert broken[0].text == "the code fails with LookupError: no such thing"
    assert broken[0].line == f"{__file__}:{other.__code__.co_firstlineno + 2}"


async def test_a_failure_that_was_recorded_is_replayed_as_it_was(client: AsyncClient):
    async def failing(ctx: Context) -> Any:
        try:
            await one("caught", ValueError("no"))()
        except StepFailed:
            await one("plan-b")()
        await one("bad", ValueError("never"))()

    run = await ran_with(client, failing)
    assert run.status == "failed"
    assert await rehearsed(client, run.run_id, failing) == Rehearsal(run_id=run.run_id, findings=[], ended="failed")

    async def repaired(ctx: Context) -> Any:
        await one("caught")()

    found = await rehearsed(client, run.run_id, repaired)
    assert [finding.verdict for finding in found.findings] == ["breaks", "breaks", "breaks"]
    assert found.findings[-1].asked.startswith("ValueError: no")


async def ran_with(client: AsyncClient, body: Body) -> Run[Any]:
    """Execute a run with this code until it is over."""
    wf = deployed(body)
    async with client.worker(wf):
        return await ran(client, wf)


async def test_code_that_fails_where_it_would_be_undone_is_told(client: AsyncClient):
    undone: list[str] = []

    async def body(ctx: Context) -> Any:
        await one("a", compensate=undone.append)()
        await ctx.wait_for_signal("go")

    async def broken(ctx: Context) -> Any:
        await one("a", compensate=undone.append)()
        raise LookupError("no such thing")

    run_id = await left_waiting(client, body)
    assert (await rehearsed(client, run_id, body)).findings == []
    found = await rehearsed(client, run_id, broken)
    assert [(finding.verdict, finding.asked) for finding in found.findings] == [("decide", "LookupError: no such thing")]
    assert undone == []
    async with client.worker(deployed(broken)):
        await client.workflow.send_signal(run_id, "go")
        await client.workflow.wait(run_id, 30)
    assert len(undone) == 1
    assert await rehearsed(client, run_id, broken) == Rehearsal(run_id=run_id, findings=[], ended="failed")


async def test_branches_sleeps_races_children_and_hooks_fit_as_they_are(client: AsyncClient):
    @workflow("rehearsed-child")
    async def child(ctx: Context) -> str:
        return await one("kid")()

    async def rich(ctx: Context) -> Any:
        async def branch(name: str) -> Any:
            await ctx.sleep("1ms")
            return await one(name, retries=1)(ctx.random().random(), str(ctx.uuid4()))

        results = await ctx.parallel([lambda: branch("x"), lambda: branch("x")])
        both = await asyncio.gather(branch("g"), branch("g"))
        won = await ctx.race({"quick": one("quick")(), "slow": ctx.sleep("1h")})
        kid = await ctx.run_child(child)
        await ctx.emit("mine", {"a": 1})
        hook = await ctx.create_hook("h", "approve")
        try:
            await ctx.wait_for_hook(hook.token, timeout="1ms")
        except TimeoutError:
            await one("late")(ctx.now().isoformat())
        await client.workflow.get_run(ctx.run_id)
        await ctx.wait_for_hook(hook.token)
        return [results, both, won, kid]

    async with client.worker(child):
        run_id = await left_waiting(client, rich, "hook")
    assert (await rehearsed(client, run_id, rich)).findings == []
    (hook,) = await client.workflow.get_hooks(run_id)
    await client.workflow.execute_hook(hook.token)
    async with client.worker(deployed(rich)):
        await client.workflow.wait(run_id, 30)
    assert await rehearsed(client, run_id, rich) == Rehearsal(run_id=run_id, findings=[], ended="completed")


async def test_a_run_that_has_not_started_stops_before_its_first_step(client: AsyncClient):
    run = await client.workflow.trigger(deployed(waiting))
    assert (await rehearsed(client, run.run_id, waiting)).findings == []

    async def broken(ctx: Context) -> Any:
        raise ValueError("at once")

    (finding,) = (await rehearsed(client, run.run_id, broken)).findings
    assert (finding.verdict, finding.asked) == ("decide", "ValueError: at once")


async def test_a_paused_run_and_one_between_attempts_are_replayed_up_to_there(client: AsyncClient):
    async def unsure(ctx: Context) -> Any:
        await one("a")()
        await one("bad", ValueError("not yet"), retries=3, retry_delay="1h")()

    run_id = await left_waiting(client, unsure, "retry")
    assert (await rehearsed(client, run_id, unsure)).findings == []
    await client.workflow.pause(run_id)
    assert (await rehearsed(client, run_id, unsure)).findings == []


async def test_an_inserted_step_of_code_that_did_not_fit_need_not_be_asked_for(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def detour(ctx: Context) -> Any:
        await one("extra")()
        return await waiting(ctx)

    async with client.worker(deployed(detour)):
        await client.workflow.send_signal(run_id, "go", 1)
        await client.workflow.wait(run_id, 30)
    assert (await rehearsed(client, run_id, waiting)).findings == []
    assert (await rehearsed(client, run_id, detour)).findings == []


async def test_code_that_goes_round_for_ever_is_left_there(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def round_and_round(ctx: Context) -> Any:
        await one("a")()
        while True:
            await ctx.wait_for_signal("go")
            await one("again")()

    (finding,) = (await rehearsed(client, run_id, round_and_round)).findings
    assert finding.verdict == "decide"


async def test_code_that_does_not_come_to_rest_is_told(client: AsyncClient):
    run_id = await left_waiting(client, waiting)

    async def awaits(ctx: Context) -> Any:
        await asyncio.Event().wait()

    found = await rehearsed(client, run_id, awaits, await_s=0.05)
    assert "not durable" in found.findings[-1].text
    assert not found.fits


async def test_a_fork_with_another_input_fits_and_its_own_past_is_compared(client: AsyncClient):
    run_id = await left_waiting(client, waiting)
    fork = await client.workflow.fork(run_id)
    async with client.worker(deployed(waiting)):
        await waits_for(client, fork.run_id, "signal")

    async def other(ctx: Context) -> Any:
        await one("z")()
        await ctx.wait_for_signal("go")

    assert (await rehearsed(client, fork.run_id, waiting)).findings == []
    assert isinstance((await rehearsed(client, fork.run_id, other)).findings, list)
    assert all(isinstance(finding, Finding) for finding in (await rehearsed(client, run_id, other)).findings)


async def test_records_are_written_by_nobody_who_rehearses(client: AsyncClient):
    async def writes(ctx: Context) -> Any:
        made = await client.collection("rehearsed").create({"n": 1})
        await ctx.wait_for_signal("go")
        return made["n"]

    fresh = await client.workflow.trigger(deployed(writes))
    found = await rehearsed(client, fresh.run_id, writes)
    assert found == Rehearsal(run_id=fresh.run_id, findings=[], ended=None)
    assert await client.collection("rehearsed").count() == 0
    await client.workflow.cancel(fresh.run_id)
    run_id = await left_waiting(client, writes)
    assert (await rehearsed(client, run_id, writes)).findings == []
    assert await client.collection("rehearsed").count() == 1
