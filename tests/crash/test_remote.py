"""A server and its workers as processes of their own, killed in turn, frozen, and cut off from each other."""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any, Final

from stepwell import AsyncClient, Settings
from tests.crash.process import STEPS
from tests.crash.server import ServerProcess
from tests.crash.workers import Worker, check_exactly_once, completed, effects
from tests.proxy import Proxy

_NAMES: Final = [f"step-{n}" for n in range(STEPS)]


def _server(folder: Path) -> ServerProcess:
    return ServerProcess(f"sqlite:///{folder}/store.db")


async def test_server_and_workers_are_killed_in_turn(tmp_path: Path):
    # promises 1, 2 and 4
    dice, run_ids = random.Random(1), [f"run-{n}" for n in range(60)]
    server = await _server(tmp_path).start()
    async with AsyncClient(server.url, settings=Settings(patience_ms=30_000)) as client:
        triggering = asyncio.gather(*(client.workflow.trigger("ten-steps", n, run_id=each) for n, each in enumerate(run_ids)))
        workers = [await Worker.start(tmp_path, url=server.url) for _ in range(2)]
        for turn in range(6):
            victim = workers[turn % 2]
            await victim.until_begun(victim.begun + dice.randint(5, 40))
            await asyncio.sleep(dice.random() / 20)
            if turn % 2:
                assert await server.end(signal.SIGKILL) == -signal.SIGKILL
                await server.start()
            else:
                assert await victim.kill() == -signal.SIGKILL
                workers[turn % 2] = await Worker.start(tmp_path, url=server.url)
        await triggering
        runs = await completed(client, run_ids)
        for worker in workers:
            await worker.stop()
        await check_exactly_once(client, tmp_path, runs, _NAMES)
    assert await server.end(signal.SIGTERM) == 0


async def test_a_worker_is_cut_off_and_silent_in_between(tmp_path: Path):
    run_ids = [f"run-{n}" for n in range(300)]
    server = await _server(tmp_path).start(server_worker_silence_ms=1_000)
    async with AsyncClient(server.url) as client, Proxy("127.0.0.1", server.port) as proxy:
        await asyncio.gather(*(client.workflow.trigger("ten-steps", n, run_id=each) for n, each in enumerate(run_ids)))
        near, far = (
            await Worker.start(tmp_path, url=server.url),
            await Worker.start(tmp_path, url=f"http://127.0.0.1:{proxy.port}"),
        )
        over = asyncio.ensure_future(completed(client, run_ids))
        for turn in range(4):
            begun = asyncio.ensure_future(far.until_begun(far.begun + 10))
            await asyncio.wait([begun, over], return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            if turn % 2:
                proxy.cut()
            else:
                proxy.silence(*([("up",), ("down",)][turn // 2]))
                await asyncio.sleep(1.5)
                proxy.heal()
        runs = await over
        await near.stop()
        await far.stop()
        await check_exactly_once(client, tmp_path, runs, _NAMES)
    assert await server.end(signal.SIGTERM) == 0


async def test_a_worker_that_is_frozen_past_its_lease_goes_on_under_a_new_session(tmp_path: Path):
    # promise 4
    old, new = [f"old-{n}" for n in range(5)], [f"new-{n}" for n in range(5)]
    server = await _server(tmp_path).start(server_worker_silence_ms=1_000)
    async with AsyncClient(server.url) as client:
        frozen = await Worker.start(tmp_path, "gated", url=server.url)
        await frozen.until_ready()
        for run_id in old:
            await client.workflow.trigger("gated", run_id=run_id)
        await frozen.until_begun(len(old))
        os.kill(frozen.pid, signal.SIGSTOP)

        other = await Worker.start(tmp_path, url=server.url)
        runs = await completed(client, old)
        histories = [await client.workflow.get_events(run_id) for run_id in old]
        assert [run.interruptions for run in runs] == [1] * len(old)
        assert await other.kill() == -signal.SIGKILL
        seen = len(effects(tmp_path))

        frozen.thaw()
        frozen.open_gate()
        for run_id in new:
            await client.workflow.trigger("gated", run_id=run_id)
        runs += await completed(client, new)
        await frozen.stop()
        assert histories == [await client.workflow.get_events(run_id) for run_id in old]
        late = effects(tmp_path)[seen:]
        assert {(effect.run_id, effect.pid) for effect in late} == {(run_id, frozen.pid) for run_id in new}
        await check_exactly_once(client, tmp_path, runs, ["gated", "after"])
    assert await server.end(signal.SIGTERM) == 0


async def test_a_worker_that_dies_is_replaced_without_waiting_for_its_silence(tmp_path: Path, record_property: Any):
    # promise 12: the kernel closes its connection, and nobody waits for the minute that it could be silent.
    run_ids = [f"run-{n}" for n in range(5)]
    server = await _server(tmp_path).start(server_worker_silence_ms=60_000)
    async with AsyncClient(server.url) as client:
        first = await Worker.start(tmp_path, "gated", url=server.url)
        await first.until_ready()
        for run_id in run_ids:
            await client.workflow.trigger("gated", run_id=run_id)
        await first.until_begun(len(run_ids))
        second = await Worker.start(tmp_path, url=server.url)
        await second.until_ready()
        await first.kill()
        killed = asyncio.get_running_loop().time()
        await second.until_begun(1)
        record_property("taken over after, in s", asyncio.get_running_loop().time() - killed)
        runs = await completed(client, run_ids)
        await second.stop()
        await check_exactly_once(client, tmp_path, runs, ["gated", "after"])
    assert await server.end(signal.SIGTERM) == 0
