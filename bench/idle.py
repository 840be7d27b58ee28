"""A node with a worker and nothing to do: what it asks of the store in a minute."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.harness import Figure, Setup, run, settings
from bench.workflows import WORKFLOWS
from stepwell import AsyncClient
from stepwell.failpoints import counters

BOUND = 30
CALLS = ("batch_state", "check", "commit", "count_by_status", "describe", "enrol", "events", "find_run", "knows_worker",
         "list_runs", "load", "messages", "owned", "poll", "retire", "statuses")  # fmt: skip


async def idle(path: Path, seconds: float) -> tuple[float, float, Counter[str], float]:
    """Return a minute's questions, a minute's calls that reach the database, those by name, and the share of a processor."""
    called: Counter[str] = Counter()
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        store: Any = getattr(await client.engine(), "store")  # noqa: B009 - the protocol does not show it, the node has it
        async with client.worker(*WORKFLOWS):
            await asyncio.sleep(1)
            for name in CALLS:
                setattr(store, name, _counting(called, name, getattr(store, name)))
            asked, used, renewed = store.questions, time.process_time(), counters["store.renewed"]
            begun = time.perf_counter()
            await asyncio.sleep(seconds)
            minutes = (time.perf_counter() - begun) / 60
            busy = (time.process_time() - used) / (60 * minutes)
            called["renewals of the lease"] = counters["store.renewed"] - renewed
            return (store.questions - asked) / minutes, called.total() / minutes, Counter(called), busy


def _counting(called: Counter[str], name: str, call: Any) -> Any:
    def counted(*args: Any, **kwargs: Any) -> Any:
        called[name] += 1
        return call(*args, **kwargs)

    return counted


def measure(setup: Setup) -> list[Figure]:
    questions, calls, by_name, busy = run(idle(setup.file("idle"), setup.pick(8.0, 30.0)))
    names = ", ".join(f"{name} {count}" for name, count in by_name.most_common())
    return [
        Figure(
            "idle: questions a minute", questions, "", bound=f"{BOUND}", ok=questions <= BOUND, note=f"{busy:.2%} of a processor"
        ),
        Figure("idle: with the writing of the lease", calls, "", note=f"seen: {names}"),
    ]
