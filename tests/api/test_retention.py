"""A workflow says how long its runs are kept; the nodes that execute it remove them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from stepwell import AsyncClient, Context, Settings, failpoints, workflow
from stepwell.connect import connect
from stepwell.errors import ConflictError, NotFoundError
from tests.clients import PATIENCE_S


@workflow("brief", version="1", retention="1ms")
async def brief(ctx: Context, input: Any) -> Any:
    return input


@workflow("brief", version="2")
async def brief_2(ctx: Context, input: Any) -> Any:
    return input


@workflow("brief-waits", retention="1ms")
async def brief_waits(ctx: Context, input: Any) -> Any:
    return await ctx.wait_for_signal("go")


@workflow("long", retention="1h")
async def long(ctx: Context, input: Any) -> Any:
    raise ValueError("no")


@workflow("parent-of-brief")
async def parent(ctx: Context, input: Any) -> Any:
    await ctx.run_child(brief, 1, run_id="child")
    return await ctx.wait_for_signal("go")


@pytest.fixture
def settings() -> Settings:
    return Settings(waiting_shown_ms=1, retention_every_ms=10, prune_rows_max=5)


async def gone(client: AsyncClient, run_id: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await client.workflow.get_run(run_id)
            except NotFoundError:
                return
            await asyncio.sleep(0.005)


async def looked(client: AsyncClient) -> None:
    """Return when all that could be removed before this call is removed: a run that is younger was."""
    last = await client.workflow.trigger(brief, "last")
    await gone(client, last.run_id)


async def test_runs_that_are_over_for_long_enough_are_removed_and_no_others(client: AsyncClient):
    async with client.worker(brief, brief_2, brief_waits, long):
        for number in range(20):
            await client.workflow.trigger(brief, number, run_id=f"brief-{number}", idempotency_key=f"k{number}")
        other = await client.workflow.trigger(brief_2, "version 2")
        young = await client.workflow.trigger(long)
        waits = await client.workflow.trigger(brief_waits)
        for run in (other, young):
            await client.workflow.wait(run.run_id, timeout=PATIENCE_S)
        for number in range(20):
            await gone(client, f"brief-{number}")
        await looked(client)
        assert (await client.workflow.get_run(other.run_id)).status == "completed"
        assert (await client.workflow.get_run(young.run_id)).status == "failed"
        assert not (await client.workflow.get_run(waits.run_id)).is_over
        await client.workflow.send_signal(waits.run_id, "go")
        await gone(client, waits.run_id)


async def test_what_was_removed_has_left_nothing_and_its_id_and_key_are_free(client: AsyncClient):
    # promise 11: for as long as that run is kept
    async with client.worker(brief):
        await client.workflow.trigger(brief, "first", run_id="mine", idempotency_key="k")
        await gone(client, "mine")
        await looked(client)
    again = await client.workflow.trigger(brief, "second", run_id="mine", idempotency_key="k")
    assert (again.created, again.status) == (True, "pending")
    assert [run.run_id async for run in client.workflow.iter_runs()] == ["mine"]


async def test_a_child_stays_while_its_parent_may_ask_for_it(client: AsyncClient):
    async with client.worker(parent, brief):
        run = await client.workflow.trigger(parent)
        async with asyncio.timeout(PATIENCE_S):
            while (waiting := (await client.workflow.get_run(run.run_id)).waiting_for) is None or waiting.kind != "signal":
                await asyncio.sleep(0.005)
        await looked(client)
        assert (await client.workflow.get_run("child")).status == "completed"
        await client.workflow.send_signal(run.run_id, "go")
        await client.workflow.wait(run.run_id, timeout=PATIENCE_S)
        await gone(client, "child")


@pytest.mark.parametrize("url", ["memory", "sqlite", "postgres"], indirect=True)
async def test_a_removal_that_was_cut_off_is_finished_by_the_next_look(client: AsyncClient):
    cut: list[int] = []

    def once() -> None:
        if not cut:
            cut.append(1)
            raise OSError("made up")

    failpoints.armed["retention.marked"] = once
    async with client.worker(brief):
        await client.workflow.trigger(brief, "first", run_id="mine")
        await gone(client, "mine")
        await id_is_free(client, "mine")
    assert cut == [1]


async def id_is_free(client: AsyncClient, run_id: str) -> None:
    """Return when nothing is left of a run: until then its id is taken, although nobody sees it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await client.workflow.trigger(brief, "another input", run_id=run_id)
                return
            except ConflictError:
                await asyncio.sleep(0.005)


async def test_runs_of_a_version_that_no_worker_knows_any_more_are_kept_as_its_workers_said_last(client: AsyncClient):
    async with client.worker(brief):
        await looked(client)
    left = [await client.workflow.trigger(brief, number) for number in range(3)]
    for run in left[1:]:
        await client.workflow.cancel(run.run_id)
    async with client.worker(brief_2, long):
        for run in left[1:]:
            await gone(client, run.run_id)
        assert (await client.workflow.get_run(left[0].run_id)).status == "pending"


async def test_runs_of_a_version_that_has_said_nothing_are_not_touched_by_what_others_say(client: AsyncClient):
    async with client.worker(brief_2):
        kept = await client.workflow.trigger(brief_2, "version 2")
        await client.workflow.wait(kept.run_id, timeout=PATIENCE_S)
    async with client.worker(brief):
        for _ in range(2):
            await looked(client)
        assert (await client.workflow.get_run(kept.run_id)).status == "completed"


class Taker:
    """A worker that takes nothing."""

    def __init__(self, retention: Mapping[tuple[str, str], int]) -> None:
        self.retention = retention

    def room(self) -> int:
        return 0

    def assigned(self, assignment: Any) -> Any:
        raise AssertionError


async def test_where_workers_do_not_agree_the_longest_time_counts():
    engine: Any = connect("memory://")
    await engine.open()
    key = ("w", "")
    first = await engine.work([key, ("x", "")], Taker({key: 5}))
    assert engine.retention() == {key: 5}
    second = await engine.work([key], Taker({key: 7}))
    assert engine.retention() == {key: 7}
    third = await engine.work([key], Taker({}))
    assert engine.retention() == {}, "for ever is longer"
    for session in (first, second, third):
        await session.close()
    await engine.close()


async def test_the_last_word_of_a_version_is_noted_and_holds_while_nobody_knows_it():
    engine: Any = connect("memory://")
    await engine.open()
    old, new, tick = ("w", "1"), ("w", "2"), engine._cleaner.tick
    session = await engine.work([old, new], Taker({old: 5, new: 7}))
    await tick()
    assert await engine.store.retention() == {old: 5, new: 7}
    await session.close()
    session = await engine.work([new], Taker({new: 8}))
    await tick()
    assert await engine.store.retention() == {old: 5, new: 8}
    assert await engine._cleaner._kept() == {old: 5, new: 8}
    await session.close()
    session = await engine.work([old], Taker({}))
    await tick()
    assert await engine.store.retention() == {new: 8}, "for ever is a word, too"
    await session.close()
    await engine.close()


async def test_of_many_versions_that_nobody_knows_some_are_looked_at_each_time():
    engine: Any = connect("memory://")
    await engine.open()
    versions = [("w", f"{number:03}") for number in range(250)]
    session = await engine.work(versions, Taker(dict.fromkeys(versions, 5)))
    await engine._cleaner.tick()
    await session.close()
    session = await engine.work([("other", "")], Taker({("other", ""): 3}))
    seen = [await engine._cleaner._kept() for _ in range(8)]
    assert all(("other", "") in kept and len(kept) <= 101 for kept in seen)
    assert {key for kept in seen for key in kept} == {("other", ""), *versions}
    await session.close()
    await engine.close()
