"""By way of a server: steps of many runs, triggers one by one and in batches, a run of one step, and what idle workers cost.

Server and worker are processes of their own, the load comes from this one, all on the same cores and one SQLite file.
"""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bench.floor import Floor, Written
from bench.harness import Figure, Pair, Setup, from_pairs, per_second, run, settings
from bench.latency import COMMITS as TEN_COMMITS
from bench.latency import ten
from bench.workflows import work
from stepwell import AsyncClient, workflow
from stepwell.client.requests import trigger_request
from stepwell.remote.frames import PATH, SUBPROTOCOL
from stepwell.server.serving import listen

RUNS = 100
STEPS = 10
BOUND_STEPS = 4_000
BOUND_SINGLE = 1_500
BOUND_BATCHED = 10_000
COMMITS = 2
BOUND_COMMITS = 3.0
WARM = 5
IDLE = 1_000
BOUND_IDLE_MB = 300


@workflow("one-step")
async def one_step(ctx: Any, input: Any) -> int:
    """As short as a run can be."""
    return (await work(1))["n"]


@contextlib.contextmanager
def process(*command: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command of stepwell while the context lasts."""
    full = [sys.executable, "-m", "stepwell", *command]
    child = subprocess.Popen(full, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment})
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def served(path: Path) -> Iterator[tuple[str, int]]:
    """Serve a fresh file; yield the server's URL and process id."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listening.close()
    # Idle workers share one key, and a thousand are more than one may have.
    with process(
        "serve", "--store", f"sqlite:///{path}", "--port", str(port), "--no-auth", STEPWELL_SERVER_SOCKETS_PER_KEY_MAX="2000"
    ) as child:  # fmt: skip
        yield f"http://127.0.0.1:{port}", child.pid


async def until_served(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)


async def steps(url: str) -> float:
    """Return how many steps a second are recorded of many runs at once, until the last is known to be over."""
    async with AsyncClient(url, settings=settings()) as client:
        begun = time.perf_counter()
        triggered = await asyncio.gather(*(client.workflow.trigger("ten-steps", [n]) for n in range(RUNS)))
        await asyncio.gather(*(client.workflow.wait(each.run_id) for each in triggered))
        return per_second(RUNS * STEPS, time.perf_counter() - begun)


async def singles(url: str, count: int, callers: int = 32) -> float:
    """Return how many runs a second are triggered by callers who each ask for one after the other."""
    async with AsyncClient(url, settings=settings()) as client:

        async def call() -> None:
            for n in range(count // callers):
                await client.workflow.trigger("nobody-knows-this", [n])

        begun = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return per_second(count // callers * callers, time.perf_counter() - begun)


async def batched(url: str, count: int) -> float:
    """Return how many runs a second are triggered a thousand at a time, by two callers."""
    async with AsyncClient(url, settings=settings()) as client:
        engine = await client.engine()
        options: Any = dict.fromkeys(
            (
                "run_id",
                "idempotency_key",
                "parent_run_id",
                "tags",
                "delay",
                "start_at",
                "max_events",
                "execution_timeout",
                "version",
            )
        )
        requests = [trigger_request("nobody-knows-this", [n], engine.settings, priority=0, **options) for n in range(count)]
        thousands = [requests[start : start + 1_000] for start in range(0, count, 1_000)]
        begun = time.perf_counter()
        await asyncio.gather(*(engine.trigger_many(each) for each in thousands))
        return per_second(count, time.perf_counter() - begun)


async def one_at_a_time(
    url: str, count: int, bare: Floor | None = None, rows: Sequence[Written] = (), *, in_one: bool = True
) -> list[Pair]:
    """Return the milliseconds from the trigger of a run of one step to its result, each beside those of its commits, bare.
    ``in_one``: by one request that waits, and not by two.
    """
    found: list[Pair] = []
    async with AsyncClient(url, settings=settings()) as client:
        for n in range(count + WARM):
            begun = time.perf_counter()
            if in_one:
                await client.workflow.execute("one-step", [n])
            else:
                await client.workflow.result(await client.workflow.trigger("one-step", [n]))
            took = time.perf_counter() - begun
            commits = sum(bare.write(rows[n * COMMITS : (n + 1) * COMMITS])) if bare is not None else took
            found.append(Pair(took * 1000, commits * 1000))
    return found[WARM:]


async def idle(url: str, pid: int, count: int) -> float:
    """Return the memory of a server that holds so many idle workers, in MB."""
    hello = [{"type": "hello", "versions": [1], "workflows": [["nobody-triggers-this", ""]], "credit": 10}]
    text = msgspec.json.encode(hello).decode()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        sockets = []
        for _ in range(count):
            socket = await http.ws_connect(url + PATH, protocols=(SUBPROTOCOL,))
            await socket.send_str(text)
            await socket.receive()
            sockets.append(socket)
        await asyncio.sleep(1)
        used = resident_mb(pid)
        await asyncio.gather(*(socket.close() for socket in sockets))
    return used


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no memory is told")


def measure(setup: Setup) -> list[Figure]:
    repetitions = setup.pick(1, 9)
    with served(setup.file("served")) as (url, _), process("worker", "bench.workflows", "bench.served", STEPWELL_URL=url):
        run(until_served(url))
        found = [run(steps(url)) for _ in range(repetitions + 1)][1:]
        count = setup.pick(30, 400)
        _, rows = run(ten(setup, (count + WARM) * COMMITS // TEN_COMMITS + 1))
        bare = Floor(setup.file("floor"))
        latency = run(one_at_a_time(url, count, bare, rows))
        bare.close()
        bare = Floor(setup.file("floor"))
        in_two = run(one_at_a_time(url, count, bare, rows, in_one=False))
        bare.close()
    with served(setup.file("triggers")) as (url, _):
        run(until_served(url))
        single = run(singles(url, setup.pick(960, 16_000)))
        batches = run(batched(url, setup.pick(4_000, 100_000)))
    rate = statistics.median(found)
    workers = setup.pick(200, IDLE)
    with served(setup.file("idle")) as (url, pid):
        run(until_served(url))
        before = resident_mb(pid)
        used = run(idle(url, pid, workers))
    return [
        Figure("served: steps", rate, "steps/s", bound=f">= {BOUND_STEPS:,}", ok=rate >= BOUND_STEPS, samples=found,
               note=f"{RUNS} runs at once, triggers and waits included"),
        from_pairs("served: one-step run", latency, "ms", bound=f"ratio <= {BOUND_COMMITS}",
                   ok=lambda _, ratio: ratio <= BOUND_COMMITS, note="trigger to result, in terms of the 2 commits that it needs"),
        from_pairs("served: one-step run, two calls", in_two, "ms", bound="", ok=None, note="trigger, then result"),
        Figure("served: triggers", single, "runs/s", bound=f">= {BOUND_SINGLE:,}", ok=single >= BOUND_SINGLE),
        Figure("served: batched triggers", batches, "runs/s", bound=f">= {BOUND_BATCHED:,}", ok=batches >= BOUND_BATCHED),
        Figure("served: idle workers", used, "MB", bound=f"< {BOUND_IDLE_MB}", ok=used < BOUND_IDLE_MB,
               note=f"{workers} connections; {(used - before) * 1024 / workers:.1f} KiB each"),
    ]  # fmt: skip
