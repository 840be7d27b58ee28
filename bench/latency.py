"""One run at a time, in commits: ten steps need eleven, a signal and the end that it leads to need two.

A sync takes as long as the disk likes at that moment, so after each run the floor writes the commits of such a run at once.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import floor
from bench.floor import Floor, Written
from bench.harness import Figure, Pair, Setup, from_pairs, run, settings
from bench.journal import Journal
from bench.workflows import await_signal, ten_steps
from stepwell import AsyncClient

COMMITS = 11
BOUND = 1.5
SIGNAL_COMMITS = 2
SIGNAL_BOUND = 2.5


@dataclass
class Found:
    """Seconds, one a run."""

    recorded: list[float] = field(default_factory=list)
    """Until the commit of the end."""
    answered: list[float] = field(default_factory=list)
    """Until ``wait`` has answered."""
    commits: list[float] = field(default_factory=list)
    """Of the floor."""


async def ten(setup: Setup, runs: int, bare: Floor | None = None, rows: Sequence[Written] = ()) -> tuple[Found, list[Written]]:
    """Run one after the other; after each, let the floor write as many commits. Return also the rows of all."""
    found, path = Found(), setup.file("latency")
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        journal = await Journal.of(client)
        async with client.worker(ten_steps):
            for n in range(runs):
                over = journal.until_over(1)
                begun = time.perf_counter()
                made = await client.workflow.trigger(ten_steps, [n])
                await client.workflow.wait(made.run_id)
                found.answered.append(time.perf_counter() - begun)
                found.recorded.append(await over - begun)
                if bare is not None:
                    found.commits += bare.write(rows[n * COMMITS : (n + 1) * COMMITS])
            batches = journal.batches()
    return found, floor.rows_of(path, batches)


async def signalled(
    setup: Setup, runs: int, bare: Floor | None = None, rows: Sequence[Written] = ()
) -> tuple[Found, list[Written]]:
    """The same for signals to runs that wait in memory. All of them wait before the first is sent."""
    found, path = Found(), setup.file("signal")
    async with AsyncClient(f"sqlite:///{path}", settings=settings(keep_ms=60_000)) as client:
        journal = await Journal.of(client)
        async with client.worker(await_signal):
            made = await asyncio.gather(*(client.workflow.trigger(await_signal) for _ in range(runs)))
            for one in made:
                while (await client.workflow.get_run(one.run_id)).waiting_for is None:
                    await asyncio.sleep(0.01)
            before = journal.batches()
            if bare is not None:
                bare.write(rows[: -runs * SIGNAL_COMMITS])
            for n, one in enumerate(made):
                over = journal.until_over(1)
                waiting = asyncio.ensure_future(client.workflow.wait(one.run_id))
                await asyncio.sleep(0.005)  # the waiting one has looked, and listens
                begun = time.perf_counter()
                await client.workflow.send_signal(one.run_id, "go", {"ok": True})
                await waiting
                found.answered.append(time.perf_counter() - begun)
                found.recorded.append(await over - begun)
                if bare is not None:
                    start = len(rows) - (runs - n) * SIGNAL_COMMITS
                    found.commits += bare.write(rows[start : start + SIGNAL_COMMITS])
            batches = [*before, *journal.batches()]
    return found, floor.rows_of(path, batches)


def measure(setup: Setup) -> list[Figure]:
    return [
        _figure(setup, "latency, 10 steps", ten, commits=COMMITS, bound=BOUND, shown=f"{BOUND} x {COMMITS} commits"),
        _figure(setup, "latency, signal to end", signalled, commits=1, bound=SIGNAL_BOUND, shown=f"{SIGNAL_BOUND} commits"),
    ]


def _figure(setup: Setup, name: str, once: Any, *, commits: int, bound: float, shown: str) -> Figure:
    runs, times = setup.pick((40, 2), (100, 4))
    _, rows = run(once(setup, runs))
    pairs: list[Pair] = []
    answered: list[float] = []
    for _ in range(times):
        bare = Floor(setup.file("floor"))
        found, _ = run(once(setup, runs, bare, rows))
        bare.close()
        unit = statistics.median(found.commits) * commits
        pairs.append(Pair(1000 * statistics.median(found.recorded), 1000 * unit))
        answered.append(statistics.median(found.answered) / unit)
    note = f"{statistics.median(answered):.2f} until wait() has answered"
    return from_pairs(name, pairs, "ms", bound=shown, ok=lambda _, ratio: ratio <= bound, note=note)
