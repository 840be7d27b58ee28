"""One run of 1,000 parallel steps, from the trigger to the commit of its end."""

import time
from pathlib import Path

from bench import floor
from bench.harness import Figure, Pair, Setup, from_pairs, pairs, run, settings
from bench.journal import Journal, Touch
from bench.workflows import fan_out
from stepwell import AsyncClient

STEPS = 1_000
BOUND_S = 0.1


async def once_out(path: Path) -> tuple[float, list[list[Touch]]]:
    """Return the seconds that it took, and what was committed."""
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        journal = await Journal.of(client)
        async with client.worker(fan_out):
            over = journal.until_over(1)
            begun = time.perf_counter()
            await client.workflow.trigger(fan_out, STEPS)
            return await over - begun, journal.batches()


def measure(setup: Setup) -> list[Figure]:
    def once() -> Pair:
        path = setup.file("fanout")
        took, batches = run(once_out(path))
        return Pair(took, sum(floor.write(setup.file("floor"), floor.rows_of(path, batches))))

    found = pairs(setup.pick(5, 15), once)
    return [from_pairs("fan-out of 1,000 steps", found, "s", bound=f"{BOUND_S} s", ok=lambda value, _: value <= BOUND_S)]
