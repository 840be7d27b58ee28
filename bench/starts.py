"""Durable starts: 50 callers at once, nobody to execute the runs."""

import asyncio
import time
from pathlib import Path

from bench import floor
from bench.harness import Figure, Pair, Setup, from_pairs, pairs, run, settings
from bench.journal import Journal, Touch
from stepwell import AsyncClient

CALLERS = 50
BOUND = 10_000


async def triggers(path: Path, runs: int) -> tuple[float, list[list[Touch]]]:
    """Return the seconds that it took, and what was committed."""
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        journal = await Journal.of(client)

        async def caller() -> None:
            for n in range(runs // CALLERS):
                await client.workflow.trigger("nobody-knows-it", [{"n": n}])

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return time.perf_counter() - begun, journal.batches()


def measure(setup: Setup) -> list[Figure]:
    runs = setup.pick(5_000, 20_000)

    def once() -> Pair:
        path = setup.file("starts")
        took, batches = run(triggers(path, runs))
        return Pair(runs / took, runs / sum(floor.write(setup.file("floor"), floor.rows_of(path, batches))))

    found = pairs(setup.pick(3, 5), once)
    return [
        from_pairs(
            "starts", found, "runs/s", bound=f"{BOUND:,} runs/s", ok=lambda value, _: value >= BOUND, note=f"{CALLERS} callers"
        )
    ]
