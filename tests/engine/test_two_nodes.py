"""Two nodes on one PostgreSQL: each hears of what there is for it, and is left alone otherwise."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from stepwell import AsyncClient, Settings, WorkflowWorker, step, workflow
from stepwell.failpoints import counters

_NO_POLLS = Settings(poll_ms=3_600_000, waiting_shown_ms=1)
_cancelled: list[asyncio.Event] = []
_hanging: list[asyncio.Event] = []


@workflow("two-nodes-adds")
async def adds(ctx: Any, input: int) -> int:
    async def add() -> int:
        return input + 1

    return await step("add", add)()


@workflow("two-nodes-waits")
async def waits(ctx: Any) -> Any:
    return await ctx.wait_for_signal("go")


@workflow("two-nodes-hangs")
async def hangs(ctx: Any) -> None:
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            _cancelled[-1].set()

    await step("hang", hang)()


@workflow("two-nodes-hangs-once")
async def hangs_once(ctx: Any) -> str:
    async def hang() -> str:
        if not _hanging[-1].is_set():
            _hanging[-1].set()
            await asyncio.Event().wait()
        return "done"

    return await step("hang", hang)()


@pytest.fixture(params=["", "&without=notify"], ids=["no polls", "no polls, no notifications"])
async def clients(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[list[AsyncClient]]:
    url = postgres_url + request.param
    async with AsyncClient(url, settings=_NO_POLLS) as here, AsyncClient(url, settings=_NO_POLLS) as there:
        yield [here, there]


async def test_what_one_asks_for_the_other_does_and_the_one_hears_of_its_end(clients: list[AsyncClient]):
    here, there = clients
    async with there.worker(adds):
        run = await here.workflow.trigger(adds, 1)
        assert await here.workflow.result(run.run_id, timeout=30) == 2


async def test_a_run_that_one_asks_for_and_is_to_begin_later_begins_on_the_other(clients: list[AsyncClient]):
    here, there = clients
    async with there.worker(adds):
        run = await here.workflow.trigger(adds, 1, delay=timedelta(milliseconds=300))
        assert await here.workflow.result(run.run_id, timeout=30) == 2


async def test_a_signal_reaches_a_run_that_the_other_holds(clients: list[AsyncClient]):
    here, there = clients
    async with there.worker(waits):
        run = await there.workflow.trigger(waits)
        while (await here.workflow.get_run(run.run_id)).waiting_for is None:
            await asyncio.sleep(0.01)
        await here.workflow.send_signal(run.run_id, "go", "now")
        assert await here.workflow.result(run.run_id, timeout=30) == "now"


async def test_a_run_that_is_cancelled_here_stops_there(clients: list[AsyncClient]):
    here, there = clients
    _cancelled.append(asyncio.Event())
    async with there.worker(hangs):
        run = await there.workflow.trigger(hangs)
        await here.workflow.cancel(run.run_id)
        await asyncio.wait_for(_cancelled[-1].wait(), 30)


async def test_what_a_node_lets_go_of_when_it_closes_goes_on_at_once_on_another(postgres_url: str):
    _hanging.append(asyncio.Event())
    async with AsyncClient(postgres_url, settings=_NO_POLLS) as there:
        async with AsyncClient(postgres_url, settings=msgspec.structs.replace(_NO_POLLS, watch_ms=3_600_000)) as here:
            worker = WorkflowWorker(here)
            await worker.start(hangs_once)
            run = await here.workflow.trigger(hangs_once)
            await _hanging[-1].wait()
            await WorkflowWorker(there).start(hangs_once)
            await worker.stop(drain=False)
        assert await there.workflow.result(run.run_id, timeout=30) == "done"


async def test_events_of_a_run_are_streamed_from_the_other(clients: list[AsyncClient]):
    here, there = clients
    async with there.worker(waits):
        run = await there.workflow.trigger(waits)
        types: list[str] = []
        async for event in here.workflow.stream_events(run.run_id):
            types.append(event.event_type)
            if event.event_type == "run_started":
                await there.workflow.send_signal(run.run_id, "go", 1)
        assert types[-1] == "run_completed"


async def test_a_node_that_executes_its_own_runs_makes_no_work_for_another(postgres_url: str):
    async with AsyncClient(postgres_url, settings=_NO_POLLS) as busy, AsyncClient(postgres_url, settings=_NO_POLLS) as idle:
        async with busy.worker(adds), idle.worker(adds, waits):
            held = await idle.workflow.trigger(waits)
            while (await busy.workflow.get_run(held.run_id)).waiting_for is None:
                await asyncio.sleep(0.01)
            node: Any = await idle.engine()
            before = node.committer.number
            for turn in range(20):
                run = await busy.workflow.trigger(adds, turn)
                assert await busy.workflow.result(run.run_id, timeout=30) == turn + 1
            # A run that the other is waited for to end has been heard of after all that was said before.
            await busy.workflow.send_signal(held.run_id, "go", 1)
            assert await idle.workflow.result(held.run_id, timeout=30) == 1
            assert node.committer.number - before <= 2


async def test_a_run_that_somebody_has_locked_is_taken_soon_after(postgres_url: str):
    locker = await asyncpg.connect(postgres_url)
    async with AsyncClient(postgres_url, settings=_NO_POLLS) as client:
        run = await client.workflow.trigger(adds, 1)
        transaction = locker.transaction()
        await transaction.start()
        await locker.execute("SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE", run.run_id)
        before = counters["claims.passed_over"]
        async with client.worker(adds):
            while counters["claims.passed_over"] < before + 3:
                await asyncio.sleep(0.005)
            await transaction.rollback()
            assert await client.workflow.result(run.run_id, timeout=30) == 2
    await locker.close()
