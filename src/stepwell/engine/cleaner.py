"""Removes the runs of workflows that say how long theirs are kept, once they have been over for so long."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Protocol

from stepwell.engine.loop import Loop
from stepwell.engine.pruning import AT_ONCE, BEFORE_ALL, Pruning, mark, sorted_out, sweep
from stepwell.failpoints import counters, failpoint

_log: Final = logging.getLogger("stepwell.engine")
_REST: Final = 3
"""Times as long as a commit of it took it rests afterwards: three quarters of the time are for everybody else."""


class Cleaning(Pruning, Protocol):
    """The node, as its cleaner sees it."""

    def retention(self) -> Mapping[tuple[str, str], int]:
        """How many ms runs are kept that are over, by workflow and version; not those that are kept for ever."""
        ...


class Cleaner(Loop):
    """Any number of nodes may do the same at the same time. What one leaves that dies meanwhile, the next one finishes."""

    def __init__(self, node: Cleaning) -> None:
        super().__init__(node.settings.retention_every_ms)
        self._node = node
        self._is_swept = False
        """Whether nothing is left that was marked by this node, or by another before this one came."""

    async def tick(self) -> int:
        """Remove all that has been over for too long; return how many runs."""
        removed = 0
        for (workflow, version), kept_ms in sorted(self._node.retention().items()):
            removed += await self._remove(workflow, version, self._node.store.now_ms() - kept_ms)
        if removed:
            counters["retention.removed"] += removed
            _log.info("removed %d runs that were kept long enough", removed)
        return removed

    async def _remove(self, workflow: str, version: str, before_ms: int) -> int:
        node, after, removed = self._node, BEFORE_ALL, 0
        if not self._is_swept:
            removed += await self._sweep()
        while page := await node.store.expired(workflow, version, before_ms, after, AT_ONCE):
            found = await sorted_out(node.store, page)
            if await mark(node, found.runs, before_ms):
                self._is_swept = False
                failpoint("retention.marked")
                removed += await self._sweep()
            after = (page[-1].completed_at, page[-1].run_id)
        return removed

    async def _sweep(self) -> int:
        loop, removed = asyncio.get_running_loop(), 0
        began_s = loop.time()
        async for swept in sweep(self._node):
            removed += swept.runs
            await asyncio.sleep(_REST * (loop.time() - began_s))
            began_s = loop.time()
        self._is_swept = True
        return removed
