"""A node, and two, on PostgreSQL: throughput beside the same statements without an engine, also over full tables; and how soon a
node learns what another has written.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from bench import server, statements
from bench.harness import Figure, Pair, Setup, from_pairs, pairs, percentile, run, settings
from bench.journal import Journal
from bench.node import Node
from bench.statements import Call, Recorded
from bench.workflows import ten_steps
from stepwell import AsyncClient
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_connect import connect

RUNS = 1_000
STEPS = 10
BOUND = 0.35
BOUND_STEPS = 20_000
BOUND_TWO = 1.0
BOUND_FULL = 0.8
BOUND_WAKE_S = 0.02

_FILL_RUNS = """
INSERT INTO runs SELECT {id}, 'ten-steps', '', {status}, NULL, 2, 1, 0, 0, 0, 0, 0, 0, 0, {events}, 0, 0, {wake}, NULL, NULL,
    NULL, 50000, '[]', NULL, NULL, {at}, {at}, {over}, {at}, ''
FROM generate_series({first}, {last}) AS n
"""
_FILL_EVENTS = """
INSERT INTO events SELECT {id}, seq, (ARRAY{types})[seq], '', '',
    '{{"result":{{"ok":true,"n":1}},"attempt":1,"startedAt":1700000000000,"durationMs":0,"fingerprint":"0123456789abcdef"}}', {at}
FROM generate_series({first}, {last}) AS n, generate_series(1, {events}) AS seq
"""
# As ids are drawn: those of earlier runs sort before those of later ones.
_ID = "'0180' || lpad(to_hex(n), 8, '0') || '-7000-8000-' || md5(n::text)"
_AT_ONCE = 50_000
_UNDER_WAY = "SELECT EXISTS (SELECT 1 FROM runs WHERE owner IS NOT NULL) OR EXISTS (SELECT 1 FROM runs WHERE status = 0)"


class Wave(NamedTuple):
    """Seconds; and what was sent."""

    took: float
    used: float
    commits: int
    calls: list[Call]


async def wave(url: str, runs: int = RUNS) -> Wave:
    """Measure from the first trigger to the commit of the last end."""
    async with AsyncClient(url, settings=settings()) as client:
        journal, recorded = await Journal.of(client), await Recorded.of(client)
        async with client.worker(ten_steps, concurrency=RUNS):
            await asyncio.sleep(0.3)  # it looks for runs that were there before
            over = journal.until_over(runs)
            journal.batches()
            recorded.calls.clear()
            begun, used = time.perf_counter(), server.used_s()
            await asyncio.gather(*(client.workflow.trigger(ten_steps, [n]) for n in range(runs)))
            took, used = await over - begun, server.used_s() - used
            return Wave(took, used, len(journal.batches()), recorded.calls[:])


def throughput(setup: Setup) -> list[Figure]:
    used: list[Pair] = []
    commits: list[int] = []

    def once() -> Pair:
        with server.database() as url:
            found = run(wave(url))
        before = server.used_s()
        with server.database() as url:
            bare = run(statements.again(url, found.calls))
        commits.append(found.commits)
        used.append(Pair(found.used * 1e6 / (RUNS * STEPS), (server.used_s() - before) * 1e6 / (RUNS * STEPS)))
        return Pair(RUNS * STEPS / found.took, RUNS * STEPS / bare)

    found = pairs(setup.pick(3, 9), once)
    return [
        from_pairs(
            "postgres: throughput", found, "steps/s", bound=f"ratio >= {BOUND:.0%}, >= {BOUND_STEPS:,}",
            ok=lambda value, ratio: ratio >= BOUND and value >= BOUND_STEPS, note=f"{RUNS} runs at once, {commits[-1]} commits",
        ),
        Figure(
            "postgres: processor time", percentile([each.value for each in used[1:]], 50), "us/step",
            note="of the node and of all processes of the server",
        ),
    ]  # fmt: skip


def two_nodes(setup: Setup) -> list[Figure]:
    def once() -> Pair:
        with server.database() as url, Node(url) as one, Node(url) as other:
            for node in (one, other):  # each knows its statements
                run(executed(url, RUNS // 10, node))
            together = run(executed(url, RUNS, one, other))
            alone = run(executed(url, RUNS, one))
        return Pair(RUNS * STEPS / together, RUNS * STEPS / alone)

    found = pairs(setup.pick(3, 9), once, warm=False)
    return [
        from_pairs(
            "postgres: two nodes", found, "steps/s", bound=f"ratio >= {BOUND_TWO}", ok=lambda _, ratio: ratio >= BOUND_TWO,
            note="two processes on one database, the runs divided; the floor is one of them alone",
        )
    ]  # fmt: skip


async def executed(url: str, runs: int, *nodes: Node) -> float:
    """Return the seconds in which so many runs are over that these nodes trigger. The other one helps if there are two."""
    eye = await connect(parse_address(url), 10)
    begun = time.perf_counter()
    for node in nodes:
        node.ask("begin", runs // len(nodes))
    for node in nodes:
        await asyncio.to_thread(node.answer)
    while await eye.fetchval(_UNDER_WAY):
        await asyncio.sleep(0.005)
    took = time.perf_counter() - begun
    await eye.close()
    return took


@contextlib.contextmanager
def full(finished: int, asleep: int) -> Iterator[str]:
    """Make a database with so many runs that are over and that sleep."""

    async def create() -> None:
        async with AsyncClient(url, settings=settings()) as client:
            await client.engine()

    with server.database() as url:
        run(create())
        at = "1700000000000 + n"
        kinds = (
            (0, finished, 3, "NULL", at, "run_created run_started step_completed run_completed"),
            (finished, asleep, 1, "4000000000000 + n", "NULL", "run_created run_started sleep_started"),
        )
        for start, count, status, wake, over, types in kinds:
            events = types.split()
            holes = {"id": _ID, "at": at, "status": status, "wake": wake, "over": over, "types": events, "events": len(events)}
            for first in range(start, start + count, _AT_ONCE):
                last = min(first + _AT_ONCE, start + count) - 1
                for text in (_FILL_RUNS, _FILL_EVENTS):
                    server.sql(text.format(**holes, first=first, last=last), url)
        for table in ("runs", "events"):
            server.sql(f"VACUUM ANALYZE {table}", url)
        server.sql("CHECKPOINT")
        yield url


def over_full_tables(setup: Setup) -> list[Figure]:
    finished, asleep = setup.pick((50_000, 5_000), (1_000_000, 100_000))

    def once() -> Pair:
        took = run(wave(url)).took
        with server.database() as empty:
            alone = run(wave(empty)).took
        return Pair(RUNS * STEPS / took, RUNS * STEPS / alone)

    with full(finished, asleep) as url:
        found = pairs(setup.pick(3, 7), once)
        ((size,),) = server.sql("SELECT pg_database_size(current_database()) / 1048576")
    return [
        from_pairs(
            f"postgres: {finished:,} finished, {asleep:,} asleep", found, "steps/s", bound=f"ratio >= {BOUND_FULL:.0%}",
            ok=lambda _, ratio: ratio >= BOUND_FULL, note=f"{size} MB; the floor is an empty database",
        )
    ]  # fmt: skip


async def woken(url: str, node: Node, count: int, *, evicted: bool) -> list[float]:
    """Return how late the body of a run, held or evicted by another node, knew of a signal that was sent here."""
    async with AsyncClient(url, settings=settings()) as client:
        made = [await client.workflow.trigger("wakes") for _ in range(count)]
        for one in made:
            while (await client.workflow.get_run(one.run_id)).waiting_for is None:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3 if evicted else 0.1)
        for one in made:
            await client.workflow.send_signal(one.run_id, "go", time.monotonic())
            await asyncio.sleep(0.025)
        return await _lateness(node, count)


async def begun(url: str, node: Node, count: int) -> list[float]:
    """Return how late the body of a run that was triggered here begins on another node."""
    async with AsyncClient(url, settings=settings()) as client:
        for _ in range(count):
            await client.workflow.trigger("begins", time.monotonic())
            await asyncio.sleep(0.025)
        return await _lateness(node, count)


async def _lateness(node: Node, count: int) -> list[float]:
    node.ask("lateness", count)
    return list(await asyncio.to_thread(node.answer))


def wake_ups(setup: Setup) -> list[Figure]:
    figures: list[Figure] = []
    for told, option, count in (("NOTIFY", "", setup.pick(40, 400)), ("no notifications", "&without=notify", setup.pick(10, 40))):
        bound = "" if option else f"{BOUND_WAKE_S * 1e3:.0f} ms"
        with server.database() as plain:
            url = plain + option
            with Node(url) as node:
                held, triggered = run(woken(url, node, count, evicted=False)), run(begun(url, node, count))
            with Node(url, keep_ms=0) as node:
                evicted = run(woken(url, node, count, evicted=True))
        for what, late in (("signal, held", held), ("signal, evicted", evicted), ("trigger", triggered)):
            middle = percentile(late, 50)
            figures.append(Figure(
                f"postgres: {what}, other node", middle * 1e3, "ms", bound=bound, ok=None if option else middle < BOUND_WAKE_S,
                note=f"{told}; p99 {percentile(late, 99) * 1e3:.0f} ms",
            ))  # fmt: skip
    return figures


def measure(setup: Setup) -> list[Figure]:
    return [*throughput(setup), *two_nodes(setup), *over_full_tables(setup), *wake_ups(setup)]
