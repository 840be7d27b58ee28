"""Worker processes on one file, killed and frozen for real."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any, Final

import pytest

from stepwell import AsyncClient
from tests.crash.process import STEPS
from tests.crash.workers import Worker, check_exactly_once, completed, effects

_NAMES: Final = [f"step-{n}" for n in range(STEPS)]
_PLACES: Final = (
    "commit.before_begin", "commit.before_write", "commit.before_commit", "commit.after_commit", "claim", "claim.loaded",
    "reaper.bury", "bury", "free", "reaper.freed",
)  # fmt: skip


async def _lives(folder: Path, dice: random.Random, kills: list[str], wanted: int) -> None:
    """One worker after the other, killed from outside after so many bodies, or from inside at a failpoint."""
    while len(kills) < wanted:
        place = dice.choice((*_PLACES, "", "", ""))
        options: dict[str, Any] = {"failpoints": f"{place}=kill@{dice.randint(1, 6)}"} if place else {}
        worker = await Worker.start(folder, **options)
        await worker.until_begun(dice.randint(10, 60))
        await asyncio.sleep(dice.random() / 50)
        assert await worker.kill() == -9
        kills.append(place or "outside")


@pytest.mark.parametrize("seed", [1])
async def test_killed_at_random_moments(seed: int, tmp_path: Path) -> None:
    await kill_at_random(tmp_path, random.Random(seed), kills_wanted=20, runs_wanted=200)


async def kill_at_random(folder: Path, dice: random.Random, *, kills_wanted: int, runs_wanted: int) -> list[str]:
    """See runs through although the two workers that execute them are killed again and again; return where they were."""
    run_ids, kills = [f"run-{n}" for n in range(runs_wanted)], list[str]()
    async with AsyncClient(f"sqlite:///{folder}/store.db") as client:
        await asyncio.gather(*(client.workflow.trigger("ten-steps", n, run_id=run_id) for n, run_id in enumerate(run_ids)))
        await asyncio.gather(*(_lives(folder, dice, kills, kills_wanted) for _ in range(2)))
        survivor = await Worker.start(folder)
        runs = await completed(client, run_ids)
        await survivor.stop()
        await check_exactly_once(client, folder, runs, _NAMES)
    assert len(kills) >= kills_wanted
    assert len(effects(folder)) > len(run_ids) * STEPS, "no step was interrupted: the kills came too early or too late"
    return kills


async def test_frozen_past_its_lease_and_continued(tmp_path: Path) -> None:
    # promise 4
    settings = {"lease_ms": 600, "poll_ms": 200}
    old, new = [f"old-{n}" for n in range(5)], [f"new-{n}" for n in range(5)]
    async with AsyncClient(f"sqlite:///{tmp_path}/store.db") as client:
        frozen = await Worker.start(tmp_path, "gated", **settings)
        await frozen.until_ready()
        for run_id in old:
            await client.workflow.trigger("gated", run_id=run_id)
        await frozen.until_begun(len(old))
        await frozen.freeze(tmp_path / "store.db")

        other = await Worker.start(tmp_path, **settings)
        runs = await completed(client, old)
        histories = [await client.workflow.get_events(run_id) for run_id in old]
        assert await other.kill() == -9
        seen = len(effects(tmp_path))

        frozen.thaw()
        frozen.open_gate()
        for run_id in new:
            await client.workflow.trigger("gated", run_id=run_id)
        runs += await completed(client, new)
        counters = await frozen.stop()

        # Its late results were refused, it began nothing more of what it held, and came back under a new identity.
        assert counters["fenced"] == 1
        assert histories == [await client.workflow.get_events(run_id) for run_id in old]
        late = effects(tmp_path)[seen:]
        assert {effect.run_id for effect in late} == set(new)
        assert {effect.pid for effect in late} == {frozen.pid}
        await check_exactly_once(client, tmp_path, runs, ["gated", "after"])


async def test_one_of_two_is_killed(tmp_path: Path, record_property: Any) -> None:
    # promise 12: nobody waits for the lease, which would take a minute.
    run_ids = [f"run-{n}" for n in range(6)]
    async with AsyncClient(f"sqlite:///{tmp_path}/store.db") as client:
        victim = await Worker.start(tmp_path, "gated", lease_ms=60_000)
        await victim.until_ready()
        for run_id in run_ids:
            await client.workflow.trigger("gated", run_id=run_id)
        await victim.until_begun(len(run_ids))
        other = await Worker.start(tmp_path, lease_ms=60_000)
        await other.until_ready()
        assert other.begun == 0

        assert await victim.kill() == -9
        killed_at = time.monotonic()
        await other.until_begun(1)
        record_property("first_step_elsewhere_after_s", round(time.monotonic() - killed_at, 3))
        runs = await completed(client, run_ids)
        record_property("all_done_after_s", round(time.monotonic() - killed_at, 3))
        assert time.monotonic() - killed_at < 60, "the lease ran out"
        assert {run.interruptions for run in runs} == {1}
        await other.stop()
        await check_exactly_once(client, tmp_path, runs, ["gated", "after"])


async def test_one_of_two_is_told_to_stop(tmp_path: Path) -> None:
    # promise 12: a drain loses no time, counts as no interruption, and repeats no step.
    run_ids = [f"run-{n}" for n in range(30)]
    async with AsyncClient(f"sqlite:///{tmp_path}/store.db") as client:
        leaver = await Worker.start(tmp_path, lease_ms=60_000)
        await leaver.until_ready()
        for run_id in run_ids:
            await client.workflow.trigger("ten-steps", run_id=run_id)
        await leaver.until_begun(40)
        other = await Worker.start(tmp_path, lease_ms=60_000)
        await other.until_ready()
        await leaver.stop()
        runs = await completed(client, run_ids)
        assert {run.interruptions for run in runs} == {0}
        await other.stop()
        await check_exactly_once(client, tmp_path, runs, _NAMES)
    assert len(effects(tmp_path)) == len(run_ids) * STEPS
