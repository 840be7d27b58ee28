"""The floor on PostgreSQL: the statements of the engine's commits once more, from a bare loop.

The same statements with the same parameters, ready before the clock starts, over the same driver to a database with the same
tables. No engine; nothing is gathered, decided, encoded or decoded.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.harness import settings
from stepwell import AsyncClient
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_connect import connect
from stepwell.store.postgres_wire import Wire

_IDENTITY = "WHERE node_id = $3 AND alive = 1 AND batch = $4"
"""What the statements have that give the identity of a batch, be it alone or together with what it writes."""


class Call(NamedTuple):
    """One turn."""

    method: str
    text: str
    parameters: tuple[Any, ...]


class Recorded:
    """The connection of a store that commits, and what was sent over it."""

    def __init__(self, wire: Wire) -> None:
        self.calls: list[Call] = []
        self._wire = wire

    @classmethod
    async def of(cls, client: AsyncClient) -> "Recorded":
        """Begin to record."""
        store: Any = getattr(await client.engine(), "store")  # noqa: B009 - the protocol does not show it, the node has it
        store._writer = recorded = cls(store._writer)
        return recorded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    async def execute(self, text: str, *parameters: Any) -> str:
        self.calls.append(Call("execute", text, parameters))
        return await self._wire.execute(text, *parameters)

    async def fetch(self, text: str, *parameters: Any) -> Sequence[Sequence[Any]]:
        self.calls.append(Call("fetch", text, parameters))
        return await self._wire.fetch(text, *parameters)

    async def fetchval(self, text: str, *parameters: Any) -> Any:
        self.calls.append(Call("fetchval", text, parameters))
        return await self._wire.fetchval(text, *parameters)


async def again(url: str, calls: Sequence[Call]) -> float:
    """Send all of it to an empty database; return the seconds that it took."""
    async with AsyncClient(url, settings=settings()) as client:
        await client.engine()  # makes the tables
    node_id, number = next(call.parameters[2:4] for call in calls if _IDENTITY in call.text)
    wire = await connect(parse_address(url), 10)
    await wire.execute("INSERT INTO nodes VALUES ($1, 1, $2, '', NULL, '', '')", node_id, number)
    methods = [getattr(wire, call.method) for call in calls]
    begun = time.perf_counter()
    for method, call in zip(methods, calls, strict=True):
        await method(call.text, *call.parameters)
    took = time.perf_counter() - begun
    await wire.close()
    return took
