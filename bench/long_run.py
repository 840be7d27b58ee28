"""One run of many sequential steps: time and memory by the step, which must not grow with their number."""

import gc
import time
import tracemalloc
from pathlib import Path

from bench import floor
from bench.harness import Figure, Setup, run, settings
from bench.journal import Journal, Touch
from bench.workflows import long
from stepwell import AsyncClient

BOUND = 1.25
"""How much more a step may cost in the longest run than in the shortest."""


async def timed(path: Path, steps: int) -> tuple[float, float, list[list[Touch]]]:
    """Return the seconds that a run took, the processor's, and what was committed."""
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        journal = await Journal.of(client)
        async with client.worker(long):
            over = journal.until_over(1)
            begun, used = time.perf_counter(), time.process_time()
            await client.workflow.trigger(long, steps)
            return await over - begun, time.process_time() - used, journal.batches()


async def weighed(path: Path, steps: int) -> int:
    """Return by how many bytes memory grew, at most, while the run went on."""
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client, client.worker(long):
        made = await client.workflow.trigger(long, 10)
        await client.workflow.wait(made.run_id)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        made = await client.workflow.trigger(long, steps)
        await client.workflow.wait(made.run_id)
        return tracemalloc.get_traced_memory()[1] - before


def measure(setup: Setup) -> list[Figure]:
    sizes: tuple[int, ...] = setup.pick((250, 500, 1_000), (2_500, 5_000, 10_000))
    run(timed(setup.file("warm"), 50))
    figures: list[Figure] = []
    busy: list[float] = []
    for steps in sizes:
        path = setup.file("long")
        took, used, batches = run(timed(path, steps))
        bare = sum(floor.write(setup.file("floor"), floor.rows_of(path, batches)))
        busy.append(used / steps)
        note = f"{used / steps * 1e6:.0f} us of processor a step"
        name = f"one run of {steps:,} steps"
        figures.append(Figure(name, took / steps * 1000, "ms/step", bare / steps * 1000, took / bare, note=note))
    note = "of the processor, which a slow disk does not blur"
    figures.append(_linear(f"time a step, {sizes[-1]:,} beside {sizes[0]:,}", busy[-1] / busy[0], note))
    tracemalloc.start()
    weights = [run(weighed(setup.file("weighed"), steps)) / steps for steps in sizes]
    tracemalloc.stop()
    note = f"{', '.join(f'{weight:,.0f}' for weight in weights)} bytes a step"
    figures.append(_linear(f"memory a step, {sizes[-1]:,} beside {sizes[0]:,}", weights[-1] / weights[0], note))
    return figures


def _linear(name: str, growth: float, note: str) -> Figure:
    return Figure(name, growth, "x", bound=f"linear: at most {BOUND} x", ok=growth <= BOUND, note=note)
