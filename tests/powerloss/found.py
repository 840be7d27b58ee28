"""What a store's file holds after a power loss: its facts, and whether an engine can go on from them."""

import asyncio
from pathlib import Path

import apsw
import msgspec

from stepwell.clock import Clock
from stepwell.errors import StepwellError
from stepwell.model import OVER, STATUSES
from stepwell.settings import Settings
from stepwell.store.sqlite import SqliteStore
from tests.powerloss import engine
from tests.powerloss.facts import DamagedError


class _Result(msgspec.Struct):
    result: msgspec.Raw


class _Received(msgspec.Struct, rename="camel"):
    signal_id: str
    payload: msgspec.Raw


class _Output(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw(b"null")


def read(connection: apsw.Connection) -> dict[str, str]:
    """Return the facts, see ``engine.py``.

    Raises:
        DamagedError: A history has a gap.
    """
    if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'events'").get:
        return {}
    facts: dict[str, str] = {}
    for run_id, flow, status in connection.execute("SELECT run_id, workflow, status FROM runs"):
        facts[f"run/{run_id}"] = flow
        if STATUSES[status] in OVER:
            facts[f"final/{run_id}"] = f"{STATUSES[status]} null"
    for run_id, message_id, payload in connection.execute("SELECT run_id, message_id, payload FROM messages"):
        facts[f"signal/{run_id}/{message_id}"] = payload
    last = ("", 0)
    events = connection.execute("SELECT run_id, seq, type, name, payload FROM events ORDER BY run_id, seq")
    for run_id, seq, kind, name, payload in events:
        if seq != (last[1] + 1 if last[0] == run_id else 1):
            raise DamagedError(f"the history of {run_id} goes from {last} to {seq}")
        last = run_id, seq
        if kind == "step_completed":
            facts[f"step/{run_id}/{name}"] = bytes(msgspec.json.decode(payload, type=_Result).result).decode()
        elif kind == "signal_received":
            received = msgspec.json.decode(payload, type=_Received)
            facts[f"signal/{run_id}/{received.signal_id}"] = bytes(received.payload).decode()
        elif kind == "run_completed":
            facts[f"final/{run_id}"] = f"completed {bytes(msgspec.json.decode(payload, type=_Output).output).decode()}"
        elif kind == "remark":
            facts[f"event/{run_id}/{kind}"] = payload
    return facts


def go_on(folder: Path, count: int) -> list[str]:
    """Check the file, start an engine on it, order everything again and see it through, and return what went wrong.

    No recorded step may run again, what was true stays true, and every run ends as it would have without the power loss.
    """
    database = folder / engine.DATABASE
    wrong = asyncio.run(_problems(database))
    before = _facts(database)
    engine.bodies.clear()
    wrong += asyncio.run(_see_all_through(database, count))
    after = _facts(database)
    wrong += [f"{fact} ran again" for fact in engine.bodies if fact in before]
    wrong += [f"{fact} has changed" for fact, value in before.items() if after.get(fact) != value]
    return wrong + asyncio.run(_problems(database))


async def _problems(database: Path) -> list[str]:
    store = SqliteStore(database, clock=Clock(), settings=Settings())
    await store.open()
    try:
        return await store.check()
    finally:
        await store.close()


async def _see_all_through(database: Path, count: int) -> list[str]:
    async with engine.shop(database) as client:

        async def see_through(wanted: engine.Order) -> str | None:
            try:
                run = await engine.see_through(client, wanted)
            except (StepwellError, TimeoutError) as error:
                return f"{wanted.run_id}: {error} ({await client.workflow.why(wanted.run_id)})"
            return None if run.status == engine.ENDS[wanted.workflow] else f"{run.run_id} is {run.status}: {run.error}"

        ends = await asyncio.gather(*(see_through(wanted) for wanted in engine.orders(count)))
    return [wrong for wrong in ends if wrong is not None]


def _facts(database: Path) -> dict[str, str]:
    connection = apsw.Connection(str(database))
    try:
        return read(connection)
    finally:
        connection.close()
