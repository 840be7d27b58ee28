"""The real workload: clients and a worker on one file. ``python -m tests.powerloss.engine FOLDER COUNT DIES_AFTER`` is one life.

Its facts are ``run/<id>`` (an acknowledged trigger), ``signal/<id>/<signal>``, ``event/<id>/<event>``, ``step/<id>/<name>`` (the
body of a later step has started) and ``final/<id>`` (a client saw the run over). A step's result holds a random part: were its
body run twice, it would not be the same.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from stepwell import AsyncClient, Context, NonRetryableError, WorkflowWorker, current_step, step, workflow
from stepwell.model import Run
from tests.powerloss.facts import Facts, Witness

DATABASE: Final = "data/stepwell.db"
"""In a folder of its own, which the store makes: its name must be durable too."""

acknowledge: Callable[[Facts], None] = lambda facts: None  # noqa: E731
bodies: list[str] = []
"""The facts whose step bodies have started in this process."""


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


class _Ledger:
    """What one branch of a run knows to be recorded: what each body says aloud before it does anything."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._known: dict[str, str] = {}

    async def record(self, name: str, *, bytes_: int, **options: Any) -> str:
        fact, known = f"step/{self._run_id}/{name}", dict(self._known)

        async def body() -> str:
            return _work(fact, known, bytes_)

        result = await step(name, body, **options)()
        self._known[fact] = _text(result)
        return result

    async def record_in_thread(self, name: str, *, bytes_: int) -> str:
        fact, known = f"step/{self._run_id}/{name}", dict(self._known)
        result = await step(name, lambda: _work(fact, known, bytes_))()
        self._known[fact] = _text(result)
        return result


def _work(fact: str, known: Facts, bytes_: int) -> str:
    acknowledge(known)
    bodies.append(fact)
    if "/unsure" in fact and current_step().attempt < 3:
        raise OSError("not this time")
    if "/never" in fact:
        raise NonRetryableError("never")
    return f"{fact} {os.urandom(8).hex()} ".ljust(bytes_, "x")


@workflow("order")
async def order(ctx: Context, input: Any) -> list[str]:
    """A sequence, a plain function in it, a step that fails twice, a large result."""
    ledger = _Ledger(ctx.run_id)
    return [
        await ledger.record("price", bytes_=100),
        await ledger.record_in_thread("charge", bytes_=1500),
        await ledger.record("unsure", bytes_=100, retries=3, retry_delay=1),
        await ledger.record("ship", bytes_=6000),
    ]


@workflow("approval")
async def approval(ctx: Context, input: Any) -> list[str]:
    """Waits for two signals, with a step between."""
    ledger = _Ledger(ctx.run_id)
    first = await ctx.wait_for_signal("first")
    asked = await ledger.record("ask", bytes_=200)
    second = await ctx.wait_for_signal("second")
    return [first, asked, second, await ledger.record("apply", bytes_=200)]


@workflow("nap")
async def nap(ctx: Context, input: Any) -> list[str]:
    """Sleeps between steps."""
    ledger = _Ledger(ctx.run_id)
    results: list[str] = []
    for name in ("dusk", "night", "dawn"):
        results.append(await ledger.record(name, bytes_=100))
        await ctx.sleep("10ms")
    return results


@workflow("fan")
async def fan(ctx: Context, input: Any) -> list[str]:
    """Branches with sequences inside."""

    async def branch(number: int) -> str:
        ledger = _Ledger(ctx.run_id)
        await ledger.record(f"left {number}", bytes_=300)
        return await ledger.record(f"right {number}", bytes_=300)

    return await ctx.parallel([lambda number=number: branch(number) for number in range(3)])


@workflow("doomed")
async def doomed(ctx: Context, input: Any) -> None:
    """Fails after its first step."""
    ledger = _Ledger(ctx.run_id)
    await ledger.record("hope", bytes_=100)
    await ledger.record("never", bytes_=100)


@workflow("stuck")
async def stuck(ctx: Context, input: Any) -> None:
    """Waits for what never comes, until it is cancelled."""
    await _Ledger(ctx.run_id).record("begin", bytes_=100)
    await ctx.wait_for_signal("godot")


class Order(NamedTuple):
    """One customer's wish: a run to be made, and seen through."""

    run_id: str
    workflow: str
    input: dict[str, str]


ENDS: Final = {
    "order": "completed",
    "approval": "completed",
    "nap": "completed",
    "fan": "completed",
    "doomed": "failed",
    "stuck": "cancelled",
}
"""How a run of each workflow ends, whatever happens on the way."""


def orders(count: int) -> list[Order]:
    """Return the first of an endless list of orders; always the same."""
    return [Order(f"{shape}-{n}", shape, {"text": f"{n} " * n}) for n, shape in zip(range(count), cycle(ENDS), strict=False)]


async def see_through(client: AsyncClient, wanted: Order) -> Run:
    """Trigger a run, give it what it waits for, see it over, and acknowledge each. May be repeated at any time."""
    run_id, flows = wanted.run_id, client.workflow
    run = await flows.trigger(wanted.workflow, wanted.input, run_id=run_id)
    acknowledge({f"run/{run_id}": wanted.workflow})
    if wanted.workflow == "approval" and not run.is_over:
        for name in ("first", "second"):
            await flows.send_signal(run_id, name, f"{name} for {run_id}", signal_id=name)
            acknowledge({f"signal/{run_id}/{name}": _text(f"{name} for {run_id}")})
    if wanted.workflow == "stuck" and not run.is_over:
        await flows.emit_event(run_id, "remark", {"about": run_id})
        acknowledge({f"event/{run_id}/remark": _text({"about": run_id})})
        await flows.cancel(run_id, reason="enough")
    run = await flows.wait(run_id, timeout=60)
    acknowledge({f"final/{run_id}": f"{run.status} {_text(run.output)}"})
    return run


@asynccontextmanager
async def shop(database: Path) -> AsyncIterator[AsyncClient]:
    """A client with a worker, on one file."""
    async with AsyncClient(f"sqlite:///{database}") as client, WorkflowWorker(client) as worker:
        await worker.start_all()
        yield client


class _Checkpointer:
    """Moves the write-ahead log into the file: a little, all of it, or all and cuts the log off, in turn; one at a time."""

    def __init__(self, database: Path) -> None:
        self._connection = apsw.Connection(str(database))
        self._connection.set_busy_timeout(1000)
        # A connection that has not read yet does not know that there is a log.
        self._connection.execute("SELECT count(*) FROM runs").fetchall()
        self._turn = asyncio.Lock()
        self._modes = cycle((apsw.SQLITE_CHECKPOINT_PASSIVE, apsw.SQLITE_CHECKPOINT_RESTART, apsw.SQLITE_CHECKPOINT_TRUNCATE))

    async def checkpoint(self) -> None:
        async with self._turn:
            await asyncio.to_thread(self._checkpoint, next(self._modes))

    def _checkpoint(self, mode: int) -> None:
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            pass  # Somebody writes or reads; the next one may be luckier.

    def close(self) -> None:
        self._connection.close()


async def serve(folder: Path, count: int, *, dies_after: int) -> None:
    """See some orders through, a few at a time, while the file is checkpointed; die once so many are over, or the file closed."""
    global acknowledge
    witness = Witness(folder)
    acknowledge = witness.acknowledge
    done = 0
    places = asyncio.Semaphore(5)

    async def customer(client: AsyncClient, checkpointer: _Checkpointer, wanted: Order) -> None:
        nonlocal done
        async with places:
            await see_through(client, wanted)
        done += 1
        if done == dies_after:
            witness.kill()
        if done % 3 == 0:
            await checkpointer.checkpoint()

    async with shop(folder / DATABASE) as client:
        checkpointer = _Checkpointer(folder / DATABASE)
        async with asyncio.TaskGroup() as customers:
            for wanted in orders(count):
                customers.create_task(customer(client, checkpointer, wanted))
        checkpointer.close()
    witness.kill()


if __name__ == "__main__":
    where, count, dies_after = sys.argv[1:]
    asyncio.run(serve(Path(where), int(count), dies_after=int(dies_after)))
