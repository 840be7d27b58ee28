"""Frees the runs of nodes that are gone, and ends runs whose deadline has passed unnoticed."""

import logging
from typing import Any, Final, Protocol

from stepwell.clock import Clock, boot_id
from stepwell.engine.loop import Loop
from stepwell.failpoints import counters, failpoint
from stepwell.settings import Settings
from stepwell.store.base import Bury, Expire, Free, Freed, Operation, Store

_log: Final = logging.getLogger("stepwell.engine")
_AT_ONCE: Final = 500
_TICK_MS: Final = 500


class Reaping(Protocol):
    """The node, as its reaper sees it."""

    settings: Settings
    store: Store
    clock: Clock

    async def submit(self, operation: Operation) -> Any: ...

    def known_workflows(self) -> list[tuple[str, str]]: ...

    def want_runs(self) -> None: ...

    def taken_away(self, run_ids: list[str], *, is_over: bool) -> None: ...


class Reaper(Loop):
    """On SQLite it looks at the lock files of other nodes, which costs no question; leases are compared when a poll says so."""

    def __init__(self, node: Reaping) -> None:
        super().__init__(_TICK_MS)
        self._node = node
        self.has_orphans = False
        """What the last poll said."""
        self._seen_dead: set[str] = set()

    async def tick(self) -> int:
        """Bury who is dead and free what they owned; return how many runs were freed."""
        node = self._node
        dead = [node_id for node_id in await node.store.dead_nodes() if node_id not in self._seen_dead]
        if not dead and not self.has_orphans:
            return 0
        self.has_orphans = False
        failpoint("reaper.bury")
        buried: int = await node.submit(Bury(known_dead=dead, boot_ms=node.clock.boot_ms(), boot_id=boot_id()))
        self._seen_dead.update(dead)
        if buried:
            counters["reaped.nodes"] += buried
        return await self._free()

    async def _free(self) -> int:
        node, count = self._node, 0
        while True:
            freed: Freed = await node.submit(
                Free(
                    limit=_AT_ONCE, workflows=node.known_workflows(), pause_at=node.settings.quarantine_pause,
                    at_ms=node.store.now_ms(),
                )
            )  # fmt: skip
            failpoint("reaper.freed")
            count += len(freed.run_ids)
            if freed.run_ids:
                counters["reaped.runs"] += len(freed.run_ids)
                _log.info("freed %d runs of lost workers, %d of them are paused", len(freed.run_ids), len(freed.paused))
                node.want_runs()
            if not freed.more or not freed.run_ids:
                return count

    async def expire(self) -> int:
        """Fail runs whose deadline has passed and whom nobody executes; return how many."""
        node, count = self._node, 0
        while True:
            late = Expire(limit=_AT_ONCE, owned_after_ms=node.settings.lease_ms, at_ms=node.store.now_ms())
            expired: list[str] = await node.submit(late)
            count += len(expired)
            node.taken_away(expired, is_over=True)
            if len(expired) < _AT_ONCE:
                return count
