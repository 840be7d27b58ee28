"""Servers on one PostgreSQL, each with workers and customers of its own, who reach it by wires of their own."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stepwell import AsyncClient, Settings, UnavailableError
from tests.chaos.checked import LEASE_MS, CheckedStorm
from tests.chaos.places import OneServer, Torment
from tests.chaos.server import Server
from tests.crash.server import ServerProcess
from tests.proxy import Proxy

_LOOK: Final = Settings(patience_ms=1_000)


class ManyServers(OneServer):
    """Servers that are killed, frozen, stopped and replaced, as their workers are, and the database, and all wires between them.

    Args:
        server: The database.
        folder: Where servers leave their logs and their counters.
        count: How many servers.
        settings: Of each.
    """

    _ILLS: Final = ("killed node", "frozen node", "stopped node")

    def __init__(self, server: Server, folder: Path, count: int, settings: Mapping[str, object]) -> None:
        super().__init__(server)
        self._folder = folder
        self._count = count
        self._settings = settings
        self._nodes: list[ServerProcess] = []

    async def open(self) -> None:
        """Start the servers."""
        for number in range(self._count):
            with (self._folder / f"log-node-{number}").open("ab") as log:
                self._nodes.append(ServerProcess(await super().url(f"node-{number}"), log=os.dup(log.fileno())))
        await asyncio.gather(*(node.start(**self._settings) for node in self._nodes))

    async def url(self, who: str) -> str:
        if who == "checker":
            return await super().url(who)
        if who not in self._proxies:
            self._proxies[who] = await Proxy("127.0.0.1", self._nodes[self._serves(who)].port).__aenter__()
        return f"http://127.0.0.1:{self._proxies[who].port}"

    def ills(self) -> tuple[str, ...]:
        return (*super().ills(), *self._ILLS)

    def tormentors(self, storm: CheckedStorm) -> list[Torment]:
        return [*super().tormentors(storm), *(self._torment(storm, number) for number in range(self._count))]

    def whom(self, who: str, storm: CheckedStorm) -> list[int]:
        if not who.startswith("node-"):
            return super().whom(who, storm)
        number = int(who.rpartition("-")[2])
        return [pid for each, pid in storm.pids.items() if self._serves(each) == number]

    async def close(self) -> None:
        """Stop the servers, and take all wires down."""
        for node in self._nodes:
            node.send(signal.SIGCONT)
            await node.end(signal.SIGKILL)
        await super().close()

    def _serves(self, who: str) -> int:
        return int(who.rpartition("-")[2]) % self._count

    async def _torment(self, storm: CheckedStorm, number: int) -> None:
        """Do things to one server, until the storm is over; then let it tell which rare branches it took."""
        node, turn = self._nodes[number], 0
        while not storm.is_over:
            await storm.moment(8)
            ill = min(self._ILLS, key=lambda ill: (storm.done[ill], storm.dice.random()))
            async with storm.trouble("cut_off", ill, *self.whom(f"node-{number}", storm)):
                if ill == "frozen node":
                    node.send(signal.SIGSTOP)
                    await storm.moment(3 * LEASE_MS / 1000)
                    node.send(signal.SIGCONT)
                    continue
                if ill == "stopped node":
                    await self._tell(node, f"{number}-{turn}")
                    code = await node.end(signal.SIGTERM)
                    assert code == 0, f"a server that was told to stop ended with {code}"
                else:
                    await node.end(signal.SIGKILL)
                await storm.moment(1)
                await node.launch(**self._settings)
                while not await node.until_serving():
                    # The database is away, so that it cannot begin: whoever runs it starts it again.
                    await asyncio.sleep(0.2)
                    await node.launch(**self._settings)
            turn += 1
        await self._tell(node, f"{number}-{turn}")

    async def _tell(self, node: ServerProcess, name: str) -> None:
        try:
            async with AsyncClient(node.url, settings=_LOOK) as client:
                counters: dict[str, Any] = (await client.workflow.stats()).counters
        except UnavailableError:
            return  # its database is away just now
        (self._folder / f"counters-node-{name}.json").write_text(json.dumps(counters), encoding="utf-8")
