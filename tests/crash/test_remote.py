"""A server and its workers as processes of their own, killed in turn, frozen, and cut off from each other."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from stepwell import AsyncClient, Context, Run, Settings, workflow
from tests.crash.lives import PLACES
from tests.crash.process import STEPS
from tests.crash.server import ServerProcess
from tests.crash.workers import Worker, check_exactly_once, completed, effects
from tests.proxy import Proxy

_NAMES: Final = [f"step-{n}" for n in range(STEPS)]


def _server(folder: Path) -> ServerProcess:
    return ServerProcess(f"sqlite:///{folder}/store.db")


@asynccontextmanager
async def _killed_in_turn(
    folder: Path, name: str, runs: int, dice: random.Random
) -> AsyncGenerator[tuple[AsyncClient, list[Run[Any]]]]:
    """So many runs of a workflow, all completed though their server and both its workers were killed meanwhile."""
    run_ids = [f"run-{n}" for n in range(runs)]
    server = await _server(folder).start()
    async with AsyncClient(server.url, settings=Settings(patience_ms=30_000)) as client:
        triggering = asyncio.gather(*(client.workflow.trigger(name, n, run_id=each) for n, each in enumerate(run_ids)))
        workers = [await Worker.start(folder, url=server.url, patience_ms=60_000) for _ in range(2)]
        for turn in range(6):
            victim = workers[turn % 2]
            await victim.until_begun(victim.begun + dice.randint(5, 30))
            await asyncio.sleep(dice.random() / 20)
            if turn % 2:
                assert await server.end(signal.SIGKILL) == -signal.SIGKILL
                await server.start()
            else:
                assert await victim.kill() == -signal.SIGKILL
                workers[turn % 2] = await Worker.start(folder, url=server.url, patience_ms=60_000)
        await triggering
        ended = await completed(client, run_ids)
        for worker in workers:
            await worker.stop()
        yield client, ended
    assert await server.end(signal.SIGTERM) == 0


async def test_server_and_workers_are_killed_in_turn(tmp_path: Path):
    # promises 1, 2 and 4
    async with _killed_in_turn(tmp_path, "ten-steps", 60, random.Random(1)) as (client, runs):
        await check_exactly_once(client, tmp_path, runs, _NAMES)


async def test_what_bodies_write_is_written_once_though_server_and_workers_are_killed_in_turn(tmp_path: Path):
    # promise 2
    async with _killed_in_turn(tmp_path, "ledger", 60, random.Random(2)) as (client, runs):
        await _check_entries(client, runs)


async def _check_entries(client: AsyncClient, runs: Sequence[Run[Any]]) -> None:
    """Check that there is one entry for each that a run tells of, written twice, and no other."""
    entries = {entry["id"]: entry for entry in await client.collection("ledger").get_full_list()}
    told = {(run.run_id, n): record_id for run in runs for n, record_id in enumerate(run.output)}
    assert {(entry["run"], entry["n"]): entry["id"] for entry in entries.values()} == told
    assert len(entries) == len(told)
    assert {entry["updates"] for entry in entries.values()} == {1}
    assert await client.check_store() == []


@workflow("three-entries")
async def _three_entries(ctx: Context, input: Any) -> list[str]:
    first = await _of_worker[0].collection("ledger").create({"run": ctx.run_id, "n": 0, "updates": 1})
    rest = await ctx.parallel(
        [lambda n=n: _of_worker[0].collection("ledger").create({"run": ctx.run_id, "n": n, "updates": 1}) for n in (1, 2)]
    )
    return [each["id"] for each in (first, *rest)]


_of_worker: list[AsyncClient] = []
"""The client that the worker was given."""


@pytest.mark.parametrize("place", PLACES)
async def test_what_a_body_writes_is_written_once_though_the_server_dies_at_any_commit(place: str, tmp_path: Path):
    # promise 2
    server, run_ids = _server(tmp_path), list[str]()
    async with AsyncClient(server.url, settings=Settings(patience_ms=100_000)) as client:
        _of_worker[:] = [client]

        async def live(run_id: str) -> None:
            async with client.worker(_three_entries):
                await client.workflow.trigger(_three_entries, run_id=run_id)
                await completed(client, [run_id])

        living = died = None
        lives = 0
        while died is None or died.done():
            # The next life dies two commits later, the first after those of its start; what one has begun goes on in the next.
            lives, nth = lives + 1, 2 * lives + PLACES.index(place) + 4
            await server.launch(failpoints=f"{place}=kill@{nth}")
            if not await server.until_serving():
                continue
            died = asyncio.ensure_future(server.until_gone())
            while not died.done():
                has_seen_it_all = living is None
                if living is None:
                    run_ids.append(f"run-{nth}")
                    living = asyncio.ensure_future(live(run_ids[-1]))
                await asyncio.wait([died, living], return_when=asyncio.FIRST_COMPLETED)
                if living.done():
                    await living
                    living = None
                if has_seen_it_all and living is None:
                    break
        assert lives > 3
        died.cancel()
        await server.end(signal.SIGKILL)
        await server.start()  # one that does not die at a later commit of its own, while it is looked at
        await _check_entries(client, await completed(client, run_ids))
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


async def test_a_server_is_frozen_while_steps_are_under_way(tmp_path: Path):
    # promises 1, 2 and 4: its workers start nothing that it does not allow, and what it hears when it thaws is recorded once
    run_ids = [f"run-{n}" for n in range(100)]
    server = await _server(tmp_path).start(server_worker_silence_ms=1_000)
    async with AsyncClient(server.url, settings=Settings(patience_ms=30_000)) as client:
        workers = [await Worker.start(tmp_path, url=server.url) for _ in range(2)]
        await asyncio.gather(*(client.workflow.trigger("ten-steps", n, run_id=each) for n, each in enumerate(run_ids)))
        for frozen_s in (0.3, 3.0):  # shorter than a worker waits for an answer, and longer than all that is promised
            await workers[0].until_begun(workers[0].begun + 20)
            server.send(signal.SIGSTOP)
            await asyncio.sleep(frozen_s)
            server.send(signal.SIGCONT)
        runs = await completed(client, run_ids)
        for worker in workers:
            await worker.stop()
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
