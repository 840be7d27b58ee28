"""Collections: how fast records come in, how long an indexed list takes among many, a walk over all, and the memory for it."""

import asyncio
import resource
import statistics
import time
from pathlib import Path
from typing import Any

from bench.harness import Figure, Setup, per_second, run, settings
from stepwell import AsyncClient

AT_ONCE = 1_000
CALLERS = 4
LISTS = 50
CITIES = 1_000
BOUND_LIST_MS = 20
BOUND_GROWTH_MB = 128


def record(n: int) -> dict[str, Any]:
    """A record of some 150 bytes; a thousandth of all are of one city."""
    return {"id": f"r{n:07}", "city": f"city-{n % CITIES}", "age": n * 7919 % 100_000, "tags": ["new"], "note": "x" * 60}


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def fill_and_ask(path: Path, count: int) -> tuple[float, list[float], float, float]:
    """Return the seconds of the import, of each list, and of the walk, and by how many MB the memory's peak has grown."""
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        people = client.collection("people")
        await client.collections.update("people", indexes=["city", "age"])
        starts = iter(range(0, count, AT_ONCE))

        async def caller() -> None:
            for start in starts:
                await people.create_many([record(n) for n in range(start, min(start + AT_ONCE, count))])

        await caller_once(people)
        before = _memory_mb()
        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        imported = time.perf_counter() - begun
        lists: list[float] = []
        for n in range(LISTS):
            begun = time.perf_counter()
            page = await people.get_list(
                1, 30, filter=people.filter("city = {:city}", city=f"city-{n}"), sort="age", skip_total=True
            )
            lists.append(time.perf_counter() - begun)
            assert len(page.items) == min(30, count // CITIES)
        begun = time.perf_counter()
        walked = 0
        async for _ in people.iter_list():
            walked += 1
        took = time.perf_counter() - begun
        assert walked == count + 1
        return imported, lists, took, _memory_mb() - before


async def caller_once(people: Any) -> None:
    """The first filter builds the parser, the first record the collection."""
    await people.create({"id": "first"})
    await people.get_list(1, 1, filter="city = 'nowhere'")


def measure(setup: Setup) -> list[Figure]:
    count = setup.pick(20_000, 1_000_000)
    imported, lists, walked, grown = run(fill_and_ask(setup.file("records"), count))
    list_ms = 1000 * statistics.median(lists)
    return [
        Figure(f"{count:,} records: import", per_second(count, imported), "records/s", note=f"two indexes, {AT_ONCE} a commit"),
        Figure(
            "an indexed, sorted list among them", list_ms, "ms", bound=f"{BOUND_LIST_MS} ms", ok=list_ms <= BOUND_LIST_MS,
            note=f"the first 30 of {count // CITIES:,}; worst {1000 * max(lists):.1f} ms",
        ),
        Figure("a walk over all", per_second(count, walked), "records/s"),
        Figure(
            "memory for all of it", grown, "MB", bound=f"{BOUND_GROWTH_MB} MB", ok=grown <= BOUND_GROWTH_MB,
            note="growth of the process's peak",
        ),
    ]  # fmt: skip
