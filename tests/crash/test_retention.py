"""A node that removes runs is killed at every commit: a run is whole, or nobody sees it, and in the end it is gone."""

import asyncio
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import pytest

from stepwell import AsyncClient, Settings, WorkflowWorker
from tests import postgres
from tests.clients import PATIENCE_S
from tests.crash.lives import PLACES
from tests.crash.retaining import workflow_kept
from tests.crash.workers import Worker

_KEPT = workflow_kept(None)
_OVER = {"plain-1", "plain-2", "plain-3", "asked", "told", "parent", "parent-child"}
_LIVE = {"waits", "asks", "holds", "holds-child"}
_TABLES = {
    "events": "run_id, seq, type, payload", "messages": "run_id, mailbox_seq, payload", "hooks": "run_id, hook_id, answer",
    "idempotency": "run_id, key", "waiters": "run_id, waiter", "run_tags": "run_id, tag",
}  # fmt: skip

Rows: TypeAlias = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STEPWELL_HOOK_KEY", "shared")
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/runs.db"


async def fill(url: str) -> None:
    """Make runs that are over and have left something everywhere, and some that are not, or may still be asked for."""

    async def rests(run_id: str, kind: str) -> None:
        while (waiting := (await client.workflow.get_run(run_id)).waiting_for) is None or waiting.kind != kind:
            await asyncio.sleep(0.005)

    async with asyncio.timeout(PATIENCE_S), AsyncClient(url, settings=Settings(keep_ms=0, waiting_shown_ms=1)) as client:
        async with WorkflowWorker(client) as worker:
            await worker.start(_KEPT)
            for number in (1, 2, 3):
                await client.workflow.trigger(
                    _KEPT, ["plain", number], run_id=f"plain-{number}", idempotency_key=f"k{number}", tags=["a", "b"]
                )
            for run_id, kind in {"asked": "hook", "told": "signal", "parent": "parent", "waits": "signal", "asks": "hook",
                                 "holds": "holds"}.items():  # fmt: skip
                await client.workflow.trigger(_KEPT, [kind, 1], run_id=run_id, idempotency_key=run_id, tags=["a"])
            for run_id, kind in {"asked": "hook", "told": "signal", "waits": "signal", "asks": "hook", "holds": "signal"}.items():
                await rests(run_id, kind)
            await client.workflow.send_signal("told", "go")
            (hook,) = await client.workflow.get_hooks("asked")
            await client.workflow.execute_hook(hook.token, True)
            for run_id in _OVER:
                await client.workflow.wait(run_id, timeout=PATIENCE_S)


def rows_of(url: str) -> Rows:
    """Return all that is kept of each run, tombstones included."""
    if url.startswith("postgresql:"):
        return _by_run({table: postgres.sql(url, f"SELECT {columns} FROM {table}") for table, columns in _TABLES.items()})
    connection = apsw.Connection(url.removeprefix("sqlite:///"), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        with connection:
            return _by_run(
                {table: connection.execute(f"SELECT {columns} FROM {table}").fetchall() for table, columns in _TABLES.items()}
            )
    finally:
        connection.close()


def _by_run(found: dict[str, list[Any]]) -> Rows:
    rows: Rows = {}
    for table, of_table in found.items():
        for row in of_table:
            rows.setdefault(row[0], []).append((table, *row))
    return {run_id: sorted(of_run) for run_id, of_run in rows.items()}


async def lived(url: str, folder: Path, place: str, nth: int) -> bool:
    """Let a node remove what it finds until it is killed at its nth commit, or nothing is left; tell whether it lives."""
    worker = await Worker.start(
        folder, program="tests.crash.retaining", url=url, prune_rows_max=7, retention_every_ms=10, keep_ms=0, lease_ms=1_000,
        failpoints=f"{place}=kill@{nth}",
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE_S):
        ended = asyncio.create_task(worker.process.wait())
        while not ended.done() and set(await asyncio.to_thread(rows_of, url)) != _LIVE:
            await asyncio.wait({ended}, timeout=0.02)
    is_alive = not ended.done()
    if is_alive:
        worker.send_kill()
    assert await ended == -9
    return is_alive


@pytest.mark.parametrize("place", PLACES)
async def test_a_node_that_is_killed_at_any_commit_of_a_removal_leaves_nothing_half_removed(url: str, tmp_path: Path, place: str):
    await fill(url)
    whole = await asyncio.to_thread(rows_of, url)
    assert set(whole) == _OVER | _LIVE
    assert {row[0] for run_id in _OVER for row in whole[run_id]} == set(_TABLES) - {"waiters"}, "nobody waits for who is over"
    for nth in count(1):
        is_alive = await lived(url, tmp_path, place, nth)
        left = await asyncio.to_thread(rows_of, url)
        async with AsyncClient(url) as client:
            assert await client.check_store() == []
            seen = {run.run_id async for run in client.workflow.iter_runs()}
        assert seen >= _LIVE
        assert {run_id: left[run_id] for run_id in seen} == {run_id: whole[run_id] for run_id in seen}, "whoever is seen is whole"
        if is_alive:
            break
    assert nth > len(_OVER) // 2
    async with AsyncClient(url, settings=Settings(keep_ms=0, waiting_shown_ms=1)) as client:
        again = await client.workflow.trigger(_KEPT, ["plain", 9], run_id="plain-1", idempotency_key="k1")
        assert again.created, "its id and key are free"
        async with WorkflowWorker(client) as worker:
            await worker.start(_KEPT)
            await client.workflow.send_signal("holds", "go")
            await client.workflow.send_signal("waits", "go")
            (hook,) = await client.workflow.get_hooks("asks")
            await client.workflow.execute_hook(hook.token, True)
            for run_id in ("holds", "waits", "asks", "plain-1"):
                assert (await client.workflow.wait(run_id, timeout=PATIENCE_S)).status == "completed"
        assert await client.check_store() == []
