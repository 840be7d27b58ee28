"""Where a checked storm blows: which store, and what can be done to it."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from tests.chaos.checked import LEASE_MS, OUTAGE_S, CheckedStorm
from tests.chaos.cluster import Cluster
from tests.chaos.network import Direction, Network
from tests.chaos.server import Server
from tests.crash.workers import Worker
from tests.proxy import Proxy

_COMMIT: Final = b"COMMIT\0"
"""As the driver sends it."""
_EVERYBODYS: Final = "cut at a commit"
Torment = Coroutine[Any, Any, None]


class OneFile:
    """A SQLite file."""

    rare = ("fenced", "reaped.nodes", "reaped.runs", "mail.fetched")

    def __init__(self, folder: Path) -> None:
        self._file = folder / "store.db"

    async def url(self, who: str) -> str:
        return f"sqlite:///{self._file}"

    def enter(self, who: str) -> tuple[str, ...]:
        return ()

    async def freeze(self, worker: Worker) -> None:
        # Frozen within a transaction it would stop everybody: nothing else would happen until it is thawed.
        await worker.freeze(self._file)

    def tormentors(self, storm: CheckedStorm) -> list[Torment]:
        return []

    def ills(self) -> tuple[str, ...]:
        return ()


class OneServer:
    """A PostgreSQL, to which each process has a wire of its own."""

    rare = (
        "fenced", "reaped.nodes", "reaped.runs", "mail.fetched", "commit.unknown_applied", "commit.unknown_not_applied",
        "commit.not_applied", "store.repeated", "store.hints_lost", "store.renewal_failed",
    )  # fmt: skip
    _WIRES: Final = ("cut", "silent", "silent one way", "slow", "dribbling", "half closed", "refused", _EVERYBODYS)

    def __init__(self, server: Server) -> None:
        self._server = server
        self._proxies: dict[str, Proxy] = {}

    async def url(self, who: str) -> str:
        if who not in self._proxies:
            self._proxies[who] = await Proxy("127.0.0.1", self._server.port).__aenter__()
        return f"postgresql://postgres@127.0.0.1:{self._proxies[who].port}/postgres"

    def enter(self, who: str) -> tuple[str, ...]:
        return ()

    async def freeze(self, worker: Worker) -> None:
        worker.freeze_anywhere()

    def tormentors(self, storm: CheckedStorm) -> list[Torment]:
        return [self._wires(storm), self._kills(storm)]

    def ills(self) -> tuple[str, ...]:
        return ("killed server", *self._WIRES)

    def whom(self, who: str, storm: CheckedStorm) -> list[int]:
        """Return which workers are cut off if this wire is."""
        return [storm.pids[who]] if who in storm.pids else []

    async def close(self) -> None:
        """Take all wires down."""
        for proxy in self._proxies.values():
            await proxy.__aexit__(None, None, None)

    async def _wires(self, storm: CheckedStorm) -> None:
        while not storm.is_over:
            await storm.moment(1.5)
            who = storm.dice.choice([who for who in self._proxies if who != "checker"])
            ill = min(self._WIRES, key=lambda ill: (storm.done[ill], storm.dice.random()))
            async with storm.trouble("cut_off", ill, *([0] if ill == _EVERYBODYS else self.whom(who, storm))):
                await self._harm(self._proxies[who], ill, storm)
            self._proxies[who].heal()

    async def _harm(self, proxy: Proxy, ill: str, storm: CheckedStorm) -> None:
        lasts_s = 2.5 * LEASE_MS / 1000
        match ill:
            case "cut":
                proxy.cut()
                lasts_s = 0.1
            case "silent":
                proxy.silence()
            case "silent one way":
                proxy.silence(storm.dice.choice(("up", "down")))
            case "slow":
                proxy.delay(0.1)
            case "dribbling":
                proxy.dribble(100, 0.002)
            case "half closed":
                proxy.half_close(storm.dice.choice(("up", "down")))
            case "refused":
                await proxy.refuse()
                await storm.moment(lasts_s)
                await proxy.accept()
                return
            case _:
                # Everybody's next commit: half of them are done, and nobody is told which.
                for each in self._proxies.values():
                    if storm.dice.random() < 0.5:
                        each.cut_before("up", _COMMIT)
                    else:
                        each.cut_answer(_COMMIT)
                await storm.moment(1)
                for each in self._proxies.values():
                    each.heal()
                return
        await storm.moment(lasts_s)

    async def _kills(self, storm: CheckedStorm) -> None:
        while not storm.is_over:
            await storm.moment(12)
            async with storm.trouble("cut_off", "killed server", 0):
                await asyncio.to_thread(self._server.kill)
                await storm.moment(1)
                await asyncio.to_thread(self._server.start)


class OneNetwork:
    """A PostgreSQL on one machine, and workers on others that are cut off from it, one way or both. Customers are where it is."""

    rare = ("fenced", "reaped.nodes", "reaped.runs", "store.renewal_failed")
    _CUTS: Final[dict[str, tuple[Direction, ...]]] = {"cut off": ("up", "down"), "unheard": ("up",), "deaf": ("down",)}

    def __init__(self, network: Network, server: Server) -> None:
        self._network = network
        self._server = server

    async def url(self, who: str) -> str:
        return self._server.url if who.startswith("worker") else self._server.socket_url

    def enter(self, who: str) -> tuple[str, ...]:
        return self._network.enter(who)

    async def freeze(self, worker: Worker) -> None:
        worker.freeze_anywhere()

    def tormentors(self, storm: CheckedStorm) -> list[Torment]:
        return [self._partitions(storm)]

    def ills(self) -> tuple[str, ...]:
        return tuple(self._CUTS)

    async def _partitions(self, storm: CheckedStorm) -> None:
        while not storm.is_over:
            await storm.moment(2)
            who = storm.dice.choice(list(storm.pids))
            ill = min(self._CUTS, key=lambda ill: (storm.done[ill], storm.dice.random()))
            async with storm.trouble("cut_off", ill, storm.pids[who]):
                await asyncio.to_thread(self._network.cut, who, *self._CUTS[ill])
                await storm.moment(4 * LEASE_MS / 1000)
            await asyncio.to_thread(self._network.heal, who)


class OneCluster:
    """Two PostgreSQL of which the primary is killed, and the other succeeds it."""

    rare = ("fenced", "reaped.nodes", "reaped.runs", "commit.outcome_unknown", "store.renewal_failed")

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def url(self, who: str) -> str:
        return self._cluster.url

    def enter(self, who: str) -> tuple[str, ...]:
        return ()

    async def freeze(self, worker: Worker) -> None:
        worker.freeze_anywhere()

    def tormentors(self, storm: CheckedStorm) -> list[Torment]:
        return [self._kills(storm)]

    def ills(self) -> tuple[str, ...]:
        return ("killed primary",)

    async def _kills(self, storm: CheckedStorm) -> None:
        while not storm.is_over:
            await storm.until_somebody_is_served()
            await storm.moment(4)
            primary = await asyncio.to_thread(self._cluster.primary)
            async with storm.trouble("cut_off", "killed primary", 0):
                await asyncio.to_thread(self._cluster.kill, primary)
                try:
                    storm.outages_s.append(await storm.until_somebody_is_served(OUTAGE_S))
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{self._cluster.last_words()}") from error
            await asyncio.to_thread(self._cluster.start, primary)
