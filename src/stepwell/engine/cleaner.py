"""Removes the runs of workflows that say how long theirs are kept, once they have been over for so long."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from stepwell.engine.loop import Loop
from stepwell.engine.pruning import AT_ONCE, BEFORE_ALL, Pruning, mark, sorted_out, sweep
from stepwell.failpoints import counters, failpoint
from stepwell.store.nodes import workflows_of
from stepwell.store.retention import KeepFor

_log: Final = logging.getLogger("stepwell.engine")
_REST: Final = 3
"""Times as long as a commit of it took it rests afterwards: three quarters of the time are for everybody else."""
_LEFT_AT_ONCE: Final = 100
"""Versions that nobody knows any more are looked at so many at a time: in years of deployments they become thousands."""


class Cleaning(Pruning, Protocol):
    """The node, as its cleaner sees it."""

    def known_workflows(self) -> Sequence[tuple[str, str]]: ...

    def retention(self) -> Mapping[tuple[str, str], int]:
        """How many ms runs are kept that are over, by workflow and version; not those that are kept for ever."""
        ...


class Cleaner(Loop):
    """Any number of nodes may do the same at the same time. What one leaves that dies meanwhile, the next one finishes."""

    def __init__(self, node: Cleaning) -> None:
        super().__init__(node.settings.retention_every_ms)
        self._node = node
        self._last_left = ("", "")
        """Of the versions that nobody knows any more, the one looked at last."""
        self._is_swept = False
        """Whether nothing is left that was marked by this node, or by another before this one came."""

    async def tick(self) -> int:
        """Remove all that has been over for too long; return how many runs."""
        removed = 0
        for (workflow, version), kept_ms in sorted((await self._kept()).items()):
            removed += await self._remove(workflow, version, self._node.store.now_ms() - kept_ms)
        if removed:
            counters["retention.removed"] += removed
            _log.info("removed %d runs that were kept long enough", removed)
        return removed

    async def _kept(self) -> dict[tuple[str, str], int]:
        """Return how long runs are kept: as the workers here say, and as theirs said last where no worker knows them any more."""
        node, said = self._node, self._node.retention()
        noted = await node.store.retention()
        known = set(node.known_workflows())
        news = [(*key, said.get(key)) for key in known if said.get(key) != noted.get(key)]
        if news:
            await node.submit(KeepFor(said=news))
        if noted.keys() <= known:
            return dict(said)
        for info in (await node.store.live_nodes()).values():
            known.update(workflows_of(info))
        left = sorted(noted.keys() - known)
        turn = [key for key in left if key > self._last_left][:_LEFT_AT_ONCE] or left[:_LEFT_AT_ONCE]
        self._last_left = turn[-1] if turn else ("", "")
        return {**said, **{key: noted[key] for key in turn}}

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
