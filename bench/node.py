"""A node in a process of its own: ``python -m bench.node URL``. It does what its standard input says, a line at a time, and
answers each by a line of JSON.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from bench.harness import run, settings
from bench.workflows import ten_steps
from stepwell import AsyncClient, workflow

CONCURRENCY = 1_000
LATENESS: list[float] = []
"""Seconds from when somebody else did something to when a body here knew of it, by a clock that all processes share."""


@workflow("wakes")
async def wakes(ctx: Any, input: Any) -> None:
    sent: float = await ctx.wait_for_signal("go")
    LATENESS.append(time.monotonic() - sent)


@workflow("begins")
async def begins(ctx: Any, input: float) -> None:
    LATENESS.append(time.monotonic() - input)


class Node:
    """The process, as seen from another one."""

    def __init__(self, url: str, **changes: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.node", url, json.dumps(changes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, *line: object) -> None:
        """Have something done."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, line)) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return what came of it."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


async def main(url: str, changes: dict[str, int]) -> None:
    """Do what is asked until nobody asks any more."""
    async with AsyncClient(url, settings=settings(**changes)) as client, client.worker(
        ten_steps, wakes, begins, concurrency=CONCURRENCY
    ):  # fmt: skip
        does: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {"begin": partial(_begin, client), "lateness": _lateness}
        await asyncio.sleep(0.3)
        print("0", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, *rest = line.split()
            print(json.dumps(await does[name](*map(int, rest))), flush=True)


async def _begin(client: AsyncClient, runs: int) -> int:
    """Trigger so many runs at once. Whichever node has room executes them."""
    return len(await asyncio.gather(*(client.workflow.trigger(ten_steps, [n]) for n in range(runs))))


async def _lateness(count: int) -> list[float]:
    """Return how late so many bodies were, once they were."""
    while len(LATENESS) < count:
        await asyncio.sleep(0.005)
    taken = LATENESS[:]
    LATENESS.clear()
    return taken


if __name__ == "__main__":
    run(main(sys.argv[1], json.loads(sys.argv[2])))
