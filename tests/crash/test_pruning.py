"""A removal of runs that dies at every commit, and one that many processes are at: what is over is gone, and nothing else."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stepwell import AsyncClient, Settings, WorkflowWorker, failpoints, step, workflow
from stepwell.engine.keeping import OldRuns
from tests import postgres
from tests.crash.lives import PLACES
from tests.e2e.commands import Shell

SETTINGS = Settings(prune_rows_max=7, keep_ms=0, waiting_shown_ms=1, retention_every_ms=10)
RUNS = 4
LIVE = {"waits", "new", "child-of-waits"}


class Died(BaseException):
    """Ends whoever writes, as the death of the process would."""


@workflow("remembered")
async def remembered(ctx, input):
    for number in range(input[0]):
        await step("note", str)(number)
    if input[0] == 0:
        await ctx.wait_for_signal("never")
    return input


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/runs.db"


async def fill(url: str) -> None:
    """Make runs that are over, of several lengths, and some that are not."""
    async with AsyncClient(url, settings=SETTINGS) as client:
        async with WorkflowWorker(client) as worker:
            await worker.start("remembered")
            await client.workflow.trigger("remembered", [0], run_id="waits")
            await client.workflow.trigger("remembered", [1], run_id="child-of-waits", parent_run_id="waits")
            for number in range(1, RUNS + 1):
                run = await client.workflow.trigger("remembered", [number], run_id=f"over-{number}", idempotency_key=f"k{number}")
                await client.workflow.wait(run.run_id)
            await client.workflow.wait("child-of-waits")
        await client.workflow.trigger("remembered", [1], run_id="new", delay="1h")


async def prune(client: AsyncClient) -> int:
    engine: Any = client._engine
    removed = 0
    async for so_far in engine.prune(OldRuns(before_ms=engine.now_ms() + 1)):
        removed = so_far.runs
    return removed


class Keeper:
    """A worker that executes nothing, and keeps nothing for longer than a millisecond."""

    retention: ClassVar = {("remembered", ""): 1}

    def room(self) -> int:
        return 0

    def assigned(self, assignment: Any) -> Any:
        raise AssertionError


async def retain(client: AsyncClient) -> int:
    """Let the node itself remove what is over, until it has looked at everything."""
    engine: Any = client._engine
    before = failpoints.counters["retention.removed"]
    session = await engine.work(list(Keeper.retention), Keeper())
    while failpoints.counters["retention.removed"] == before:
        await asyncio.sleep(0.002)
    await session.close()
    return failpoints.counters["retention.removed"] - before


async def die(url: str, place: str, nth: int, remove: Callable[[AsyncClient], Coroutine[Any, Any, int]]) -> bool:
    """Remove what is over, and die at the nth commit; tell whether it came to that."""
    client = AsyncClient(url, settings=SETTINGS)
    await client.workflow.stats()
    loop = asyncio.get_running_loop()
    dead, commits = loop.create_future(), count(1)

    def passing() -> None:
        if next(commits) == nth:
            loop.call_soon_threadsafe(dead.set_result, None)
            raise Died

    armed: dict[str, Callable[[], None]] = {place: passing}
    failpoints.armed.update(armed)
    life = loop.create_task(remove(client))
    await asyncio.wait({life, dead}, return_when=asyncio.FIRST_COMPLETED)
    failpoints.armed.clear()
    if not dead.done():
        await client.close()
        return False
    engine: Any = client._engine
    await asyncio.to_thread(engine.store.abandon)
    life.cancel()
    return True


async def check_all_gone(url: str) -> None:
    async with AsyncClient(url, settings=SETTINGS) as client:
        assert await client.check_store() == []
        assert {run.run_id async for run in client.workflow.iter_runs()} == LIVE
        # The key and the id are free again: nothing of what was removed is left in their way.
        again = await client.workflow.trigger("remembered", [9], run_id="over-1", idempotency_key="k1")
        assert again.created
        await client.workflow.cancel("over-1")
        assert await prune(client) == 1


@pytest.mark.parametrize("remove", [prune, retain])
@pytest.mark.parametrize("place", PLACES)
async def test_a_removal_that_dies_at_any_commit_is_gone_on_with(
    url: str, place: str, remove: Callable[[AsyncClient], Coroutine[Any, Any, int]]
):
    for nth in count(1):
        await fill(url)
        has_died = await die(url, place, nth, remove)
        async with AsyncClient(url, settings=SETTINGS) as client:
            # Whoever looks in between finds a run whole, or not at all.
            assert await client.check_store() == []
            async for run in client.workflow.iter_runs():
                events = await client.workflow.get_events(run.run_id)
                assert [event.seq for event in events] == list(range(1, run.event_count + 1))
            await prune(client)
        await check_all_gone(url)
        if not has_died:
            assert nth > RUNS
            return


async def test_processes_that_are_killed_while_they_remove_leave_nothing_that_others_cannot_finish(url: str, tmp_path: Path):
    await fill(url)
    shell = Shell(tmp_path)
    command = ("db", "prune", "--older-than", "0s", "--yes", "--json", "--store", url)
    for nth in (2, 2, 1):
        killed = await asyncio.to_thread(
            shell.run, *command, STEPWELL_PRUNE_ROWS_MAX="7", STEPWELL_FAILPOINTS=f"commit.after_commit=kill@{nth}"
        )
        assert killed.code == -9, killed.err
    done = await asyncio.to_thread(shell.run, *command)
    assert done.code == 0, done.err
    assert done.json["held"] == 1
    await check_all_gone(url)


async def test_many_processes_remove_at_once_while_runs_go_on(url: str, tmp_path: Path):
    await fill(url)
    shell = Shell(tmp_path)
    command = ("db", "prune", "--older-than", "0s", "--yes", "--json", "--store", url)
    async with AsyncClient(url, settings=SETTINGS) as client, WorkflowWorker(client) as worker:
        await worker.start("remembered")
        removing = [asyncio.create_task(asyncio.to_thread(shell.run, *command, STEPWELL_PRUNE_ROWS_MAX="3")) for _ in range(3)]
        while not all(each.done() for each in removing):
            run = await client.workflow.trigger("remembered", [2], tags=["busy"])
            await asyncio.wait_for(client.workflow.stats(), 30)
            assert run.created
        done = [await each for each in removing]
        assert [each.code for each in done] == [0, 0, 0], [each.err for each in done]
        async for run in client.workflow.iter_runs(tags=["busy"]):
            await client.workflow.wait(run.run_id)
        await prune(client)
    assert sum(each.json["removed"] for each in done) >= RUNS
    await check_all_gone(url)
    if url.startswith("postgresql"):
        assert postgres.sql(url, "SELECT count(*) FROM runs WHERE status = 6") == [(0,)]
