"""Pause, resume, retry and repair: what can be done to a run besides ending it."""

import asyncio
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    ConflictError,
    Context,
    NotFoundError,
    SignalTimeout,
    StepFailed,
    ValidationError,
    step,
    workflow,
)
from tests.api.tools import events_of, ran, seen, types_of, waits_for
from tests.moved import MovedClock


class _Gate:
    """Lets bodies through, one at a time, and tells when one waits there."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self, value: int) -> int:
        self.reached.set()
        await self.opened.wait()
        return value


_gates: dict[str, _Gate] = {}
_failing: set[str] = set()
_bodies: list[str] = []


async def _body(name: str) -> str:
    _bodies.append(name)
    if name in _failing:
        raise ValueError(f"{name} is broken")
    return name


@workflow("controlled-gate")
async def gated(ctx: Context) -> list[int]:
    first = await step("first", lambda: _gates[ctx.run_id].pass_through(1))()
    return [first, await step("second", lambda: 2)()]


@workflow("controlled-failing-gate")
async def failing_gate(ctx: Context) -> int:
    await step("gate", lambda: _gates[ctx.run_id].pass_through(1))()
    if ctx.attempt == 1:
        raise ValueError("at the first attempt")
    try:
        await ctx.wait_for_signal("never", timeout="0.01s")
    except SignalTimeout:
        return 1
    return 0


@workflow("controlled-signals")
async def signals(ctx: Context) -> list[Any]:
    return [await ctx.wait_for_signal("go") for _ in range(2)]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    _failing.clear()
    _bodies.clear()


async def test_a_pause_lets_the_running_step_finish_and_starts_no_more(client: AsyncClient):
    # promise 13
    gate = _gates["gated"] = _Gate()
    async with client.worker(gated):
        await client.workflow.trigger(gated, run_id="gated")
        await gate.reached.wait()
        assert (await client.workflow.pause("gated")).status == "running"
        gate.opened.set()
        await seen(client, "gated", "run_paused")
        run = await client.workflow.get_run("gated")
        assert run.status == "paused"
        assert run.waiting_for is not None
        assert run.waiting_for.kind == "paused"
        assert await types_of(client, "gated") == ["run_created", "run_started", "step_completed", "run_paused"]
        await client.workflow.resume("gated")
        assert await client.workflow.result("gated", timeout=30) == [1, 2]
    assert len(await events_of(client, "gated", "step_completed")) == 2


async def test_a_paused_run_keeps_its_messages_and_is_not_woken_by_them(client: AsyncClient):
    async with client.worker(signals):
        await client.workflow.trigger(signals, run_id="paused")
        await waits_for(client, "paused", "signal")
        await client.workflow.pause("paused")
        await seen(client, "paused", "run_paused")
        for number in range(2):
            await client.workflow.send_signal("paused", "go", number)
        assert (await client.workflow.get_run("paused")).status == "paused"
        assert (await client.workflow.pause("paused")).status == "paused"
        await client.workflow.resume("paused")
        assert await client.workflow.result("paused", timeout=30) == [0, 1]
    assert await client.check_store() == []


async def test_a_run_that_has_not_started_is_paused_at_once_and_starts_when_it_is_resumed(client: AsyncClient):
    await client.workflow.trigger(signals, run_id="pending")
    assert (await client.workflow.pause("pending")).status == "paused"
    assert (await client.workflow.resume("pending")).status == "pending"


async def test_a_pause_that_is_taken_back_changes_nothing(client: AsyncClient):
    gate = _gates["gated"] = _Gate()
    async with client.worker(gated):
        await client.workflow.trigger(gated, run_id="gated")
        await gate.reached.wait()
        await client.workflow.pause("gated")
        await client.workflow.resume("gated")
        gate.opened.set()
        assert await client.workflow.result("gated", timeout=30) == [1, 2]
    assert await events_of(client, "gated", "run_paused") == []


async def test_a_paused_run_can_be_cancelled(client: AsyncClient):
    # promise 9
    await client.workflow.trigger(signals, run_id="pending")
    await client.workflow.pause("pending")
    assert (await client.workflow.cancel("pending")).status == "cancelled"
    with pytest.raises(ConflictError, match="cancelled and cannot be paused"):
        await client.workflow.pause("pending")
    with pytest.raises(NotFoundError):
        await client.workflow.pause("none")


@workflow("retried")
async def retried(ctx: Context) -> list[Any]:
    caught = None
    try:
        await step("caught", _body)("caught")
    except StepFailed as error:
        caught = error.message
    results = await ctx.parallel([lambda name=name: step(name, _body)(name) for name in ("a", "b", "c")])
    return [ctx.attempt, caught, *results]


async def test_a_retry_does_again_what_the_failure_came_from_and_nothing_else(client: AsyncClient):
    # promise 2, promise 8
    _failing.update({"caught", "a", "c"})
    async with client.worker(retried):
        run = await ran(client, retried, run_id="retried")
        assert run.status == "failed"
        assert run.error is not None
        _failing.clear()
        _bodies.clear()
        again = await client.workflow.retry("retried")
        assert again.attempt == 2
        run = await client.workflow.wait("retried", 30)
    assert run.output == [2, "caught is broken", "a", "b", "c"]
    assert sorted(_bodies) == ["a", "c"]
    (resumed,) = await events_of(client, "retried", "run_resumed")
    assert resumed.payload["attempt"] == 2
    assert resumed.payload["voided"] == ["parallel#0/0/a", "parallel#0/2/c"]
    assert run.error is None
    assert await client.check_store() == []


async def test_a_retry_fails_again_if_nothing_has_changed_and_can_be_retried_again(client: AsyncClient):
    _failing.add("a")
    async with client.worker(retried):
        await ran(client, retried, run_id="retried")
        await client.workflow.retry("retried")
        assert (await client.workflow.wait("retried", 30)).status == "failed"
        _failing.clear()
        await client.workflow.retry("retried")
        assert (await client.workflow.result("retried", 30))[0] == 3


async def test_of_many_retries_at_once_one_wins(client: AsyncClient):
    _failing.add("b")
    async with client.worker(retried):
        await ran(client, retried, run_id="retried")
    answers = await asyncio.gather(*(client.workflow.retry("retried") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, ConflictError) for answer in answers) == 4
    assert len(await events_of(client, "retried", "run_resumed")) == 1


async def test_what_has_not_failed_is_not_retried(client: AsyncClient):
    async with client.worker(retried):
        await ran(client, retried, run_id="retried")
    with pytest.raises(ConflictError, match="it is completed"):
        await client.workflow.retry("retried")
    with pytest.raises(NotFoundError):
        await client.workflow.retry("none")


@workflow("retried-child")
async def child(ctx: Context, name: str) -> Any:
    return await step("child-step", _body)(name)


@workflow("retried-parent")
async def parent(ctx: Context) -> Any:
    await step("before", _body)("before")
    return await ctx.run_child(child, "kid")


async def test_a_retry_of_a_parent_retries_the_child_whose_failure_was_its_own(client: AsyncClient):
    _failing.add("kid")
    async with client.worker(child, parent):
        run = await ran(client, parent, run_id="parent")
        assert run.status == "failed"
        _failing.clear()
        await client.workflow.retry("parent")
        assert await client.workflow.result("parent", 30) == "kid"
        (kid,) = await client.workflow.get_child_runs("parent")
        assert (kid.status, kid.attempt) == ("completed", 2)
        assert (await client.workflow.get_parent_run(kid.run_id)).run_id == "parent"
    assert _bodies == ["before", "kid", "kid"]
    with pytest.raises(ConflictError, match="completed"):
        await client.workflow.retry(kid.run_id)
    with pytest.raises(NotFoundError, match="no parent"):
        await client.workflow.get_parent_run("parent")


@workflow("retried-parent-of-a-full-child")
async def parent_of_full(ctx: Context) -> Any:
    return await ctx.run_child(child, "kid", max_events=5)


async def test_a_retried_parent_hears_again_of_a_child_that_cannot_be_retried(client: AsyncClient):
    # promise 13
    _failing.add("kid")
    async with client.worker(child, parent_of_full):
        await ran(client, parent_of_full, run_id="parent")
        (kid,) = await client.workflow.get_child_runs("parent")
        await client.workflow.retry("parent")
        again = await client.workflow.wait("parent", 30)
        assert (again.status, again.attempt) == ("failed", 2)
        assert (await client.workflow.get_run(kid.run_id)).attempt == 1


@workflow("retried-late-parent", execution_timeout=1_000)
async def late_parent(ctx: Context) -> Any:
    return await ctx.run_child(signals)


async def test_a_retried_parent_hears_of_a_child_that_ended_while_the_parent_was_over():
    # promise 13
    clock = MovedClock()
    async with AsyncClient("memory://", clock=clock) as client, client.worker(late_parent, signals):
        await client.workflow.trigger(late_parent, run_id="parent")
        await seen(client, "parent", "child_started")
        clock.advance(1_000)
        assert (await client.workflow.wait("parent", 30)).status == "failed"
        (kid,) = await client.workflow.get_child_runs("parent")
        for number in range(2):
            await client.workflow.send_signal(kid.run_id, "go", number)
        await client.workflow.wait(kid.run_id, 30)
        await client.workflow.retry("parent")
        assert await client.workflow.result("parent", 30) == [0, 1]


async def test_a_pause_that_a_failure_came_before_is_forgotten_when_the_run_is_retried(client: AsyncClient):
    gate = _gates["gated"] = _Gate()
    async with client.worker(failing_gate):
        await client.workflow.trigger(failing_gate, run_id="gated")
        await gate.reached.wait()
        await client.workflow.pause("gated")
        await seen(client, "gated", "run_started")
        gate.opened.set()
        assert (await client.workflow.wait("gated", 30)).status == "failed"
        await client.workflow.retry("gated")
        assert await client.workflow.result("gated", 30) == 1


async def test_a_parent_that_is_over_keeps_its_failed_child_from_being_retried(client: AsyncClient):
    _failing.add("kid")
    async with client.worker(child, parent):
        await ran(client, parent, run_id="parent")
    (kid,) = await client.workflow.get_child_runs("parent")
    with pytest.raises(ConflictError, match="its parent 'parent' is over"):
        await client.workflow.retry(kid.run_id)


async def test_the_result_of_a_step_can_be_set_by_hand_while_its_run_is_paused(client: AsyncClient):
    _failing.add("a")
    with pytest.raises(NotFoundError):
        await client.workflow.set_step_result("none", "a", 1, "typo")
    async with client.worker(retried):
        run = await ran(client, retried, run_id="repaired")
    assert run.status == "failed"
    await client.workflow.retry("repaired")
    with pytest.raises(ConflictError, match="not paused"):
        await client.workflow.set_step_result("repaired", "parallel#0/0/a", "by hand", "the supplier said so")
    await client.workflow.pause("repaired")
    with pytest.raises(ConflictError, match="completed already"):
        await client.workflow.set_step_result("repaired", "parallel#0/1/b", "by hand", "the supplier said so")
    with pytest.raises(ValidationError, match="reason"):
        await client.workflow.set_step_result("repaired", "parallel#0/0/a", "by hand", "")
    await client.workflow.set_step_result("repaired", "parallel#0/0/a", "by hand", "the supplier said so")
    _bodies.clear()
    await client.workflow.resume("repaired")
    async with client.worker(retried):
        assert await client.workflow.result("repaired", 30) == [2, None, "by hand", "b", "c"]
    assert _bodies == []
    set_by_hand = (await events_of(client, "repaired", "step_completed"))[-1]
    assert set_by_hand.payload["reason"] == "the supplier said so"
