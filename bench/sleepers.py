"""Many runs asleep at once: how fast they are all started, what one costs while it sleeps, how late it wakes."""

import asyncio
import gc
import time
import tracemalloc
from pathlib import Path
from typing import NamedTuple

from bench.harness import Figure, Setup, percentile, run, settings
from bench.journal import Journal
from bench.workflows import LATENESS, sleeper
from stepwell import AsyncClient, WorkflowWorker

CALLERS = 500
CONCURRENCY = 1_000
START_BOUND_S = 2.0
LATE_BOUND_S = 0.5
MANY_LATE_BOUND_S = 2.0
MEMORY_BOUND = 2_048
_ROUNDS = 3


class Night(NamedTuple):
    """Seconds."""

    start: float
    late_p50: float
    late_p99: float
    late_max: float


async def sleep(path: Path, runs: int, seconds: float) -> Night:
    """Start so many runs, each of which sleeps so long from then on, and wait for all of them to end."""
    LATENESS.clear()
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        journal = await Journal.of(client)
        worker = WorkflowWorker(client, concurrency=CONCURRENCY)
        await worker.start(sleeper)
        over = journal.until_over(runs)
        begun = time.perf_counter()
        await _start(client, runs, seconds)
        start = time.perf_counter() - begun
        await over
        await worker.stop()
    assert len(LATENESS) == runs, "one woke twice, or never"
    assert min(LATENESS) >= 0, "one woke early"
    return Night(start, percentile(LATENESS, 50), percentile(LATENESS, 99), max(LATENESS))


async def weigh(path: Path, runs: int) -> float:
    """Return the bytes that one more run costs once it is evicted: the slope over three rounds after the first."""
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        engine = await client.engine()
        async with client.worker(sleeper):
            weights: list[int] = []
            for _ in range(_ROUNDS + 1):
                await _start(client, runs, 3600)
                await _all_evicted(engine)
                weights.append(tracemalloc.get_traced_memory()[0])
            return max(0.0, (weights[-1] - weights[0]) / (_ROUNDS * runs))


async def _start(client: AsyncClient, runs: int, seconds: float) -> None:
    async def caller(count: int) -> None:
        for _ in range(count):
            await client.workflow.trigger(sleeper, time.time() + seconds)

    each, more = divmod(runs, CALLERS)
    await asyncio.gather(*(caller(each + (1 if n < more else 0)) for n in range(CALLERS)))


async def _all_evicted(engine: object) -> None:
    sessions = getattr(engine, "sessions")  # noqa: B009 - the protocol does not show them, the node has them
    while any(session.held for session in sessions):
        await asyncio.sleep(0.05)
    gc.collect()


def measure(setup: Setup) -> list[Figure]:
    run(sleep(setup.file("warm"), 200, 0.5))
    figures = _night(setup, setup.pick(2_000, 10_000), 8.0, LATE_BOUND_S)
    tracemalloc.start()
    weight = run(weigh(setup.file("weighed"), setup.pick(400, 3_000)))
    tracemalloc.stop()
    figures.append(
        Figure(
            "memory of a sleeping run",
            weight,
            "bytes",
            bound=f"{MEMORY_BOUND:,} bytes",
            ok=weight <= MEMORY_BOUND,
            note="evicted",
        )
    )
    if not setup.short:
        figures += _night(setup, 100_000, 60.0, MANY_LATE_BOUND_S)
    return figures


def _night(setup: Setup, runs: int, seconds: float, late_bound: float) -> list[Figure]:
    night = run(sleep(setup.file("sleepers"), runs, seconds))
    bound = START_BOUND_S if runs <= 10_000 else None
    return [
        Figure(
            f"{runs:,} sleepers: all started", night.start, "s", bound="" if bound is None else f"{bound} s",
            ok=None if bound is None else night.start <= bound, note=f"{runs / night.start:,.0f} runs/s",
        ),
        Figure(
            f"{runs:,} sleepers: lateness p99", night.late_p99, "s", bound=f"{late_bound} s", ok=night.late_p99 <= late_bound,
            note=f"median {night.late_p50:.3f} s, worst {night.late_max:.3f} s",
        ),
    ]  # fmt: skip
