"""Servers that are asked to stop while steps are under way at their workers: each in a process of its own."""

import signal
from pathlib import Path

from stepwell import AsyncClient, Settings
from tests.crash.server import ServerProcess
from tests.crash.workers import Worker, check_exactly_once, completed, effects
from tests.proxy import Proxy

_RUN_IDS = [f"run-{n}" for n in range(5)]


def _server(folder: Path) -> ServerProcess:
    return ServerProcess(f"sqlite:///{folder}/store.db")


async def _until_under_way(client: AsyncClient, worker: Worker) -> None:
    """Return when the first step of each run is under way."""
    await worker.until_ready()
    for run_id in _RUN_IDS:
        await client.workflow.trigger("gated", run_id=run_id)
    await worker.until_begun(len(_RUN_IDS))


def _check_that_none_began_twice(folder: Path) -> None:
    began = sorted((effect.run_id, effect.step_id) for effect in effects(folder))
    # promises 2 and 12
    assert began == [(run_id, step_id) for run_id in _RUN_IDS for step_id in ("after", "gated")]


async def test_what_is_under_way_is_recorded_and_goes_on_when_the_server_is_back(tmp_path: Path):
    async with _server(tmp_path) as server, AsyncClient(server.url, settings=Settings(patience_ms=30_000)) as client:
        await server.start()
        worker = await Worker.start(tmp_path, "gated", url=server.url)
        await _until_under_way(client, worker)
        await server.ask_to_stop()
        worker.open_gate()
        assert await server.until_gone() == 0
        await server.start()
        runs = await completed(client, _RUN_IDS)
        assert [run.interruptions for run in runs] == [0] * len(runs)
        await worker.stop()
        _check_that_none_began_twice(tmp_path)
        await check_exactly_once(client, tmp_path, runs, ["gated", "after"])


async def test_what_is_under_way_is_recorded_and_goes_on_at_another_server(tmp_path: Path, postgres_url: str):
    async with (
        ServerProcess(postgres_url) as first,
        ServerProcess(postgres_url) as second,
        AsyncClient(second.url) as client,
        Proxy("127.0.0.1", first.port) as proxy,
    ):
        await first.start()
        await second.start()
        worker = await Worker.start(tmp_path, "gated", url=f"http://127.0.0.1:{proxy.port}")
        await _until_under_way(client, worker)
        await first.ask_to_stop()
        proxy.aim("127.0.0.1", second.port)
        worker.open_gate()
        assert await first.until_gone() == 0
        runs = await completed(client, _RUN_IDS)
        assert [run.interruptions for run in runs] == [0] * len(runs)
        await worker.stop()
        _check_that_none_began_twice(tmp_path)
        await check_exactly_once(client, tmp_path, runs, ["gated", "after"])


async def test_a_step_that_does_not_end_holds_up_the_stop_for_the_drain_time_alone(tmp_path: Path):
    async with _server(tmp_path) as server, AsyncClient(server.url, settings=Settings(patience_ms=30_000)) as client:
        await server.start(server_drain_ms=100)
        worker = await Worker.start(tmp_path, "gated", url=server.url)
        await _until_under_way(client, worker)
        assert await server.end(signal.SIGTERM) == 0
        await server.start()
        await worker.until_begun(2 * len(_RUN_IDS))
        worker.open_gate()
        runs = await completed(client, _RUN_IDS)
        assert [run.interruptions for run in runs] == [0] * len(runs)
        await worker.stop()
        await check_exactly_once(client, tmp_path, runs, ["gated", "after"])
