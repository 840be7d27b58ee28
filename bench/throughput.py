"""1,000 runs of 10 trivial async steps at once: steps recorded in a second."""

import asyncio
import time
from pathlib import Path

from bench import floor
from bench.harness import Figure, Pair, Setup, from_pairs, pairs, run, settings
from bench.journal import Journal, Touch
from bench.workflows import ten_steps
from stepwell import AsyncClient, WorkflowWorker

RUNS = 1_000
STEPS = 10
BOUND = 0.5


async def wave(path: Path, runs: int) -> tuple[float, float, list[list[Touch]]]:
    """Return the seconds from the first trigger to the commit of the last end, the processor's, and what was committed."""
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        journal = await Journal.of(client)
        worker = WorkflowWorker(client, concurrency=RUNS)
        await worker.start(ten_steps)
        await asyncio.sleep(0.05)  # it looks for runs that were there before
        over = journal.until_over(runs)
        begun, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client.workflow.trigger(ten_steps, [n]) for n in range(runs)))
        took, used = await over - begun, time.process_time() - used
        batches = journal.batches()
        await worker.stop()
    return took, used, batches


def measure(setup: Setup) -> list[Figure]:
    used: list[Pair] = []
    commits = 0

    def once() -> Pair:
        nonlocal commits
        path = setup.file("throughput")
        took, busy, batches = run(wave(path, RUNS))
        rows = floor.rows_of(path, batches)
        commits = len(rows)
        before = time.process_time()
        bare = sum(floor.write(setup.file("floor"), rows))
        used.append(Pair(busy * 1e6 / (RUNS * STEPS), (time.process_time() - before) * 1e6 / (RUNS * STEPS)))
        return Pair(RUNS * STEPS / took, RUNS * STEPS / bare)

    found = pairs(setup.pick(3, 9), once)
    note = f"{RUNS} runs at once, {commits} commits"
    return [
        from_pairs("throughput", found, "steps/s", bound=f"ratio >= {BOUND:.0%}", ok=lambda _, r: r >= BOUND, note=note),
        from_pairs("throughput: processor time", used[1:], "us/step", bound="", ok=None, note="hardly moved by what else runs"),
    ]
