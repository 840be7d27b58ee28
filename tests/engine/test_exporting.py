"""All that is kept of runs, as it was at one moment."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stepwell import AsyncClient, NotFoundError, Settings, WorkflowWorker, step, workflow
from stepwell.engine.api import RunFilter
from stepwell.engine.keeping import OldRuns, Signal, Unreadable
from stepwell.model import Event, Run
from tests import postgres


@workflow("exported")
async def exported(ctx, input):
    await step("note", str)(input)
    return await ctx.wait_for_signal("go")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url, settings=Settings(waiting_shown_ms=1)) as client:
        async with WorkflowWorker(client) as worker:
            await worker.start("exported")
            for name in ("a", "b"):
                await client.workflow.trigger("exported", [name], run_id=name, tags=[name])
                await client.workflow.send_signal(name, "go", {"n": 2**70}, signal_id="s")
                await client.workflow.wait(name)
        await client.workflow.trigger("exported", run_id="new", tags=["new"])
        await client.workflow.send_signal("new", "go", signal_id="early")
        yield client


def export(client: AsyncClient, only: RunFilter | None = None, run_ids: tuple[str, ...] = ()) -> AsyncIterator[Any]:
    engine: Any = client._engine
    return engine.export(only or RunFilter(), run_ids)


async def test_what_is_exported_is_what_the_api_shows(client: AsyncClient):
    got = [each async for each in export(client)]
    shown: list[Any] = []
    for run_id in ("new", "b", "a"):
        shown.append(await client.workflow.get_run(run_id))
        shown += await client.workflow.get_events(run_id)
    assert [each for each in got if not isinstance(each, Signal)] == shown
    signals = [(each.run_id, each.signal_id, each.name, each.payload, each.received) for each in got if isinstance(each, Signal)]
    assert signals == [
        ("new", "early", "go", None, False),
        ("b", "s", "go", {"n": 2**70}, True),
        ("a", "s", "go", {"n": 2**70}, True),
    ]


async def test_runs_are_chosen_by_a_filter_or_by_their_ids(client: AsyncClient):
    async def names(only: RunFilter | None = None, run_ids: tuple[str, ...] = ()) -> list[str]:
        return [each.run_id async for each in export(client, only, run_ids) if isinstance(each, Run)]

    assert await names(RunFilter(status="pending")) == ["new"]
    assert await names(RunFilter(tags=["a"])) == ["a"]
    assert await names(run_ids=("a", "new")) == ["a", "new"]
    with pytest.raises(NotFoundError, match="nobody"):
        await names(run_ids=("a", "nobody"))


async def test_it_is_one_moment_whatever_others_do_meanwhile(client: AsyncClient):
    walk = export(client)
    first = await anext(walk)
    assert first.run_id == "new"
    await client.workflow.emit_event("new", "seen", 1)
    await client.workflow.cancel("new")
    await client.workflow.trigger("exported", run_id="later")
    engine: Any = client._engine
    async for _ in engine.prune(OldRuns(before_ms=engine.now_ms() + 1_000)):
        pass
    with pytest.raises(NotFoundError):
        await client.workflow.get_run("a")
    rest = [each async for each in walk]
    assert [each.run_id for each in rest if isinstance(each, Run)] == ["b", "a"]
    for run_id, last in (("new", "run_created"), ("a", "run_completed"), ("b", "run_completed")):
        assert [each for each in rest if isinstance(each, Event) and each.run_id == run_id][-1].event_type == last
    assert await client.check_store() == []


async def test_a_run_that_cannot_be_read_is_told_and_the_others_go_on(client: AsyncClient, url: str):
    edit = "UPDATE events SET payload = '{' WHERE run_id = 'b' AND seq = 3"
    if url.startswith("postgresql"):
        postgres.sql(url, edit)
    else:
        engine: Any = client._engine
        await engine.store._lane().call(lambda writer: writer.connection.execute(edit).fetchall())
    got = [each async for each in export(client)]
    assert [each.run_id for each in got if isinstance(each, Unreadable)] == ["b"]
    assert [each.seq for each in got if isinstance(each, Event) and each.run_id == "a"] == [1, 2, 3, 4, 5]
