"""Everything from a SQLite file to PostgreSQL."""

import asyncio
from pathlib import Path

import pytest

from stepwell import AsyncClient, WorkflowWorker, step, workflow
from stepwell.clock import Clock
from stepwell.errors import ConflictError, UnavailableError
from stepwell.settings import Settings
from stepwell.store.move import Moved, move
from tests import postgres

bodies: list[object] = []


@workflow("moving")
async def moving(ctx, name):
    async def note() -> object:
        bodies.append(name)
        return name

    noted = await step("note", note)()
    approval = await ctx.wait_for_signal("go")
    return [noted, approval]


async def moved(file: Path, url: str) -> Moved:
    return await asyncio.to_thread(move, file, url, clock=Clock(), settings=Settings())


async def filled(file: Path) -> None:
    """Runs that wait, that are new, and that have a signal before they ask for it."""
    async with AsyncClient(f"sqlite:///{file}", settings=Settings(keep_ms=0, waiting_shown_ms=1)) as client:
        async with WorkflowWorker(client) as worker:
            await worker.start(moving)
            await client.workflow.trigger("moving", ["waits"], run_id="waits", tags=["ü"], idempotency_key="k")
            while (await client.workflow.get_run("waits")).waiting_for is None:
                await asyncio.sleep(0)
        await client.workflow.trigger("moving", ["new"], run_id="new")
        await client.workflow.send_signal("new", "go", {"by": "Ada"})


async def test_live_runs_go_on_where_they_were(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEPWELL_HOOK_KEY", "shared")
    bodies.clear()
    file = tmp_path / "app.db"
    await filled(file)
    told = await moved(file, postgres_url)
    assert told.rows["runs"] == 2
    assert told.rows["messages"] == 1
    assert told.rows["idempotency"] == 1
    async with AsyncClient(postgres_url) as client:
        assert await client.check_store() == []
        again = await client.workflow.trigger("moving", ["waits"], idempotency_key="k")
        assert again.run_id == "waits"
        await client.workflow.send_signal("waits", "go", 1)
        async with WorkflowWorker(client) as worker:
            await worker.start(moving)
            for run_id in ("waits", "new"):
                run = await client.workflow.wait(run_id, timeout=60)
                assert run.status == "completed", run.error
        assert (await client.workflow.get_run("waits")).tags == ["ü"]
        assert await client.check_store() == []
    # promise 2: what was recorded in the file does not run again.
    assert sorted(bodies) == [["new"], ["waits"]]


async def test_a_target_that_holds_anything_is_refused(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    await filled(file)
    await moved(file, postgres_url)
    with pytest.raises(ConflictError, match="not empty"):
        await moved(file, postgres_url)


async def test_a_file_that_is_in_use_is_refused_and_nothing_is_written(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    async with AsyncClient(f"sqlite:///{file}") as client:
        await client.workflow.trigger("moving", ["x"])
        with pytest.raises((ConflictError, UnavailableError)):
            await moved(file, postgres_url)
    assert postgres.sql(postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()") == [(0,)]


async def test_a_file_that_is_not_there_is_told(tmp_path: Path, postgres_url: str):
    with pytest.raises(UnavailableError, match="no store"):
        await moved(tmp_path / "none.db", postgres_url)
