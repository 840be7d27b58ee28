"""Workers: what they take, how many at once, and how they let go."""

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import AsyncClient, Context, NotFoundError, Settings, ValidationError, WorkflowWorker, step, workflow
from tests.api.tools import events_of, ran, seen, types_of, until, waits_for
from tests.clients import PATIENCE_S


@workflow("worker-echo")
async def echo(ctx: Context, input: Any) -> Any:
    return await step("echo", lambda: input)()


@workflow("worker-waits")
async def waits(ctx: Context) -> Any:
    return await ctx.wait_for_signal("go")


class Gate:
    """A step's body that enters, and waits to be let out."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.inside = 0
        self.peak = 0
        self.count = 0

    async def __call__(self) -> int:
        self.count += 1
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        self.entered.set()
        try:
            await self.release.wait()
        finally:
            self.inside -= 1
        return self.count


def once(fn: Callable[[], bool]) -> Callable[[], Any]:
    async def condition() -> bool:
        return fn()

    return condition


# -- starting


async def test_names_add_up_and_a_worker_takes_only_what_it_was_started_for(client: AsyncClient):
    async with WorkflowWorker(client) as worker:
        await worker.start(echo)
        waiting = await client.workflow.trigger(waits)
        assert (await ran(client, echo, 1)).output == 1
        assert (await client.workflow.get_run(waiting.run_id)).status == "pending"
        await worker.start("worker-waits")
        await client.workflow.send_signal(waiting.run_id, "go", 2)
        assert await client.workflow.result(waiting.run_id, PATIENCE_S) == 2
        await worker.start(echo, "worker-waits")
        assert (await ran(client, echo, 3)).output == 3


async def test_entering_starts_nothing_and_leaving_drains(client: AsyncClient):
    run = await client.workflow.trigger(echo, 1)
    async with WorkflowWorker(client) as worker:
        assert "start one" in await client.workflow.why(run.run_id)
        await worker.start(echo)
        assert await client.workflow.result(run.run_id, PATIENCE_S) == 1
    after = await client.workflow.trigger(echo, 2)
    assert (await client.workflow.get_run(after.run_id)).status == "pending"


async def test_start_all_starts_everything_that_is_registered(client: AsyncClient):
    async with WorkflowWorker(client) as worker:
        await worker.start_all()
        assert (await ran(client, echo, 1)).output == 1
    async with client.worker():
        assert (await ran(client, echo, 2)).output == 2


async def test_an_unknown_name_is_refused_and_names_what_there_is(client: AsyncClient):
    worker = WorkflowWorker(client)
    with pytest.raises(NotFoundError, match=r"worker-unknown.*worker-echo"):
        await worker.start("worker-unknown")
    with pytest.raises(NotFoundError, match="worker-unknown"):
        async with client.worker("worker-unknown"):
            pass


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"concurrency": -1}, {"concurrency": 1.5}, {"drain_timeout": "soon"}])
def test_options_out_of_bounds_are_refused_and_named(options: Any):
    with pytest.raises(ValidationError, match=next(iter(options))):
        WorkflowWorker(AsyncClient("memory://"), **options)


async def test_a_worker_may_be_stopped_twice_and_started_again(client: AsyncClient):
    worker = WorkflowWorker(client)
    await worker.stop()
    for number in range(3):
        await worker.start(echo)
        assert (await ran(client, echo, number)).output == number
        await worker.stop()
        await worker.stop()


async def test_two_workers_of_one_client_share_the_work(client: AsyncClient):
    gate = Gate()

    @workflow("worker-two")
    async def wf(ctx):
        await step("gate", gate)()

    async with client.worker(wf, concurrency=2), client.worker(wf, concurrency=3):
        runs = [await client.workflow.trigger(wf) for _ in range(8)]
        await until(once(lambda: gate.inside == 5))
        gate.release.set()
        for run in runs:
            assert (await client.workflow.wait(run.run_id, PATIENCE_S)).status == "completed"
    assert gate.peak == 5


# -- concurrency


async def test_concurrency_bounds_how_many_runs_execute_at_once(client: AsyncClient):
    gate = Gate()

    @workflow("worker-bound")
    async def wf(ctx):
        await step("gate", gate)()

    async with client.worker(wf, concurrency=3):
        runs = [await client.workflow.trigger(wf) for _ in range(10)]
        await until(once(lambda: gate.inside == 3))
        gate.release.set()
        for run in runs:
            await client.workflow.wait(run.run_id, PATIENCE_S)
    assert gate.peak == 3


@pytest.mark.parametrize(
    "settings",
    [Settings(waiting_shown_ms=1), Settings(keep_ms=0, waiting_shown_ms=1), Settings(kept_max=3, waiting_shown_ms=1)],
    ids=["kept", "evicted", "three kept"],
)
async def test_runs_that_wait_hold_up_nobody_even_where_one_executes_at_a_time(client: AsyncClient):
    executing, peak = 0, 0

    async def body() -> None:
        nonlocal executing, peak
        executing += 1
        peak = max(peak, executing)
        await asyncio.sleep(0.001)
        executing -= 1

    @workflow("worker-one")
    async def wf(ctx, input):
        await step("before", body)()
        got = await ctx.wait_for_signal("go")
        await step("between", body)()
        await ctx.sleep("5ms")
        await step("after", body)()
        return [input, got]

    async with client.worker(wf, concurrency=1):
        runs = [await client.workflow.trigger(wf, number) for number in range(12)]
        for run in runs:
            await seen(client, run.run_id, "step_completed")
        for number, run in reversed(list(enumerate(runs))):
            await client.workflow.send_signal(run.run_id, "go", number)
        assert [await client.workflow.result(run, PATIENCE_S) for run in runs] == [[number, number] for number in range(12)]
    assert peak == 1


@pytest.mark.parametrize("settings", [Settings(poll_ms=3_600_000)], ids=["no polls"])
async def test_runs_that_queue_up_start_as_soon_as_there_is_room(client: AsyncClient):
    # promise 13
    gate = Gate()

    @workflow("worker-queue")
    async def wf(ctx, input):
        if input == 0:
            await step("gate", gate)()
        return input

    async with client.worker(wf, concurrency=1):
        runs = [await client.workflow.trigger(wf, 0)]
        await gate.entered.wait()
        runs += [await client.workflow.trigger(wf, number) for number in range(1, 10)]
        gate.release.set()
        assert [await client.workflow.result(run, PATIENCE_S) for run in runs] == list(range(10))


async def test_a_run_that_wakes_waits_for_room(client: AsyncClient):
    gate = Gate()

    @workflow("worker-wakes")
    async def wf(ctx, input):
        if input == "block":
            await step("gate", gate)()
            return None
        await ctx.wait_for_signal("go")
        return gate.inside

    async with client.worker(wf, concurrency=1):
        sleeper = await client.workflow.trigger(wf, "sleep")
        await waits_for(client, sleeper.run_id, "signal")
        blocker = await client.workflow.trigger(wf, "block")
        await gate.entered.wait()
        await client.workflow.send_signal(sleeper.run_id, "go")
        await client.workflow.emit_event(sleeper.run_id, "looked")
        assert (await client.workflow.get_run(sleeper.run_id)).status == "running"
        gate.release.set()
        assert await client.workflow.result(sleeper.run_id, PATIENCE_S) == 0
        await client.workflow.wait(blocker.run_id, PATIENCE_S)


async def test_threads_of_plain_steps_are_as_many_as_the_settings_say(client: AsyncClient):
    inside, peak, lock = 0, 0, threading.Lock()
    together = threading.Barrier(8)

    def body() -> None:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
        together.wait(PATIENCE_S)
        with lock:
            inside -= 1

    @workflow("worker-threads")
    async def wf(ctx):
        await ctx.parallel([step("body", body)() for _ in range(8)])

    async with client.worker(wf, concurrency=1):
        assert (await ran(client, wf)).status == "completed"
    assert peak == 8


# -- draining


async def test_draining_lets_a_running_step_finish_and_hands_the_rest_back_at_once(client: AsyncClient):
    # promise 12
    gate, calls = Gate(), itertools.count(1)

    @workflow("worker-drain")
    async def wf(ctx):
        first = await step("gate", gate)()
        second = await step("next", lambda: next(calls))()
        return [first, second]

    worker = WorkflowWorker(client)
    await worker.start(wf)
    run = await client.workflow.trigger(wf)
    await gate.entered.wait()
    stopping = asyncio.create_task(worker.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    gate.release.set()
    await stopping
    kinds = await types_of(client, run.run_id)
    assert kinds.count("step_completed") == 1, "the running one was recorded, the next did not start"
    handed_back = await client.workflow.get_run(run.run_id)
    assert handed_back.status in {"pending", "running"}
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [1, 1]
    assert gate.count == 1
    assert (await client.workflow.get_run(run.run_id)).interruptions == 0


async def test_a_drain_that_takes_too_long_cancels_what_runs_and_it_runs_again_elsewhere(client: AsyncClient):
    # promise 12
    gate, cancelled = Gate(), list[bool]()

    async def body() -> int:
        try:
            return await gate()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    @workflow("worker-drain-late")
    async def wf(ctx):
        return await step("body", body)()

    worker = WorkflowWorker(client, drain_timeout=0.02)
    await worker.start(wf)
    run = await client.workflow.trigger(wf)
    await gate.entered.wait()
    await worker.stop()
    assert cancelled == [True]
    gate.release.set()
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == 2
    assert (await client.workflow.get_run(run.run_id)).interruptions == 0
    assert len(await events_of(client, run.run_id, "step_completed")) == 1


async def test_stopping_without_a_drain_waits_for_nobody(client: AsyncClient):
    gate = Gate()

    @workflow("worker-no-drain")
    async def wf(ctx):
        return await step("gate", gate)()

    worker = WorkflowWorker(client, drain_timeout="1h")
    await worker.start(wf)
    run = await client.workflow.trigger(wf)
    await gate.entered.wait()
    await worker.stop(drain=False)
    assert gate.inside == 0
    gate.release.set()
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == 2


@pytest.mark.parametrize("settings", [Settings(lease_ms=3_600_000, poll_ms=3_600_000, waiting_shown_ms=1)], ids=["no help"])
async def test_what_is_handed_back_goes_on_in_another_worker_without_any_lease_running_out(client: AsyncClient):
    # promise 12
    gate = Gate()

    @workflow("worker-hand-over")
    async def wf(ctx, input):
        await step("gate", gate)()
        if input % 2:
            await ctx.wait_for_signal("go")
        await step("next", lambda: input)()
        return input

    first = WorkflowWorker(client, concurrency=50)
    await first.start(wf)
    runs = [await client.workflow.trigger(wf, number) for number in range(20)]
    await until(once(lambda: gate.inside == 20))
    async with client.worker(wf, concurrency=5):
        stopping = asyncio.create_task(first.stop())
        gate.release.set()
        await stopping
        for run in runs:
            await client.workflow.send_signal(run.run_id, "go") if run.input % 2 else None
        assert [await client.workflow.result(run, PATIENCE_S) for run in runs] == list(range(20))
    assert gate.count == 20


async def test_runs_that_wait_are_handed_back_too_and_wake_elsewhere(client: AsyncClient):
    # promise 12, promise 7
    @workflow("worker-hand-over-waiting")
    async def wf(ctx, input):
        if input == "sleep":
            await ctx.sleep("80ms")
        return await ctx.wait_for_signal("go")

    worker = WorkflowWorker(client)
    await worker.start(wf)
    runs = [await client.workflow.trigger(wf, kind) for kind in ("sleep", "signal")]
    await seen(client, runs[0].run_id, "sleep_started")
    await waits_for(client, runs[1].run_id, "signal")
    await worker.stop()
    async with client.worker(wf):
        for run in runs:
            await client.workflow.send_signal(run.run_id, "go", "here")
            assert await client.workflow.result(run.run_id, PATIENCE_S) == "here"
            assert (await client.workflow.get_run(run.run_id)).interruptions == 0


async def test_a_worker_in_another_client_takes_over_what_is_handed_back(file_url: str):
    # promise 12, promise 4
    gate = Gate()

    @workflow("worker-take-over")
    async def wf(ctx, input):
        await step("gate", gate)()
        return await step("next", lambda: input)()

    async with AsyncClient(file_url) as one, AsyncClient(file_url) as two:
        first = WorkflowWorker(one)
        await first.start(wf)
        runs = [await one.workflow.trigger(wf, number) for number in range(10)]
        await until(once(lambda: gate.inside == 10))
        async with two.worker(wf):
            stopping = asyncio.create_task(first.stop())
            gate.release.set()
            await stopping
            assert [await two.workflow.result(run, PATIENCE_S) for run in runs] == list(range(10))
        assert await two.check_store() == []
    assert gate.count == 10


async def test_cancelling_who_awaits_a_drain_leaves_no_run_behind(client: AsyncClient):
    # promise 13
    gate = Gate()

    @workflow("worker-drain-cancelled")
    async def wf(ctx):
        return await step("gate", gate)()

    worker = WorkflowWorker(client, drain_timeout="1h")
    await worker.start(wf)
    run = await client.workflow.trigger(wf)
    await gate.entered.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await worker.stop()
    gate.release.set()
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) in {1, 2}


# -- run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_executes_everything_until_a_signal_drains_and_returns(client: AsyncClient, number: int):
    # promise 12
    gate = Gate()

    @workflow("worker-run")
    async def wf(ctx):
        first = await step("gate", gate)()
        await step("next", lambda: 1)()
        return first

    before = signal.getsignal(number)
    worker = WorkflowWorker(client)
    running = asyncio.create_task(worker.run())
    run = await client.workflow.trigger(wf)
    await gate.entered.wait()
    os.kill(os.getpid(), number)
    await asyncio.sleep(0.02)
    gate.release.set()
    await asyncio.wait_for(running, PATIENCE_S)
    assert signal.getsignal(number) == before, "the library leaves no handler behind"
    assert (await types_of(client, run.run_id)).count("step_completed") == 1
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == 1
