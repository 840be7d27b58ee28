"""The one combined question that a node asks its store, and what follows from the answer."""

import asyncio
from typing import Final, Protocol

from stepwell.engine.loop import Loop
from stepwell.engine.reaper import Reaper
from stepwell.engine.timers import Timers
from stepwell.failpoints import counters
from stepwell.settings import Settings
from stepwell.store.base import Store

_COMPARE_EVERY: Final = 8
"""At each so many turns the node compares what it owns with what it holds: an answer may have gone missing."""


class Asking(Protocol):
    """The node, as its pulse sees it."""

    node_id: str
    settings: Settings
    store: Store
    reaper: Reaper
    timers: Timers

    def fence(self) -> object:
        """Something that changes when the node comes back under a new identity."""
        ...

    def known_workflows(self) -> list[tuple[str, str]]: ...

    def want_runs(self) -> None: ...

    def mailed(self, run_id: str) -> None: ...

    def compare(self) -> None:
        """Compare what the store says is owned with what is held."""
        ...

    async def renew(self) -> None: ...


class Pulse(Loop):
    """Asks the node's one combined question every now and then, and after a time that was noted has come."""

    def __init__(self, node: Asking) -> None:
        super().__init__(node.settings.poll_ms)
        self._node = node
        self._soon: asyncio.TimerHandle | None = None
        self._turn = 0

    def kick_within(self, ms: int) -> None:
        """Tick within this time; asked for often, once."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(ms / 1000, self.kick)

    async def tick(self) -> None:
        """Ask, and pass on what there is to do."""
        node, self._soon = self._node, None
        self._turn += 1
        if self._turn % _COMPARE_EVERY == 0:
            # Instead of the question, so that a node at rest asks no more often for it.
            node.compare()
            return
        identity = node.fence()
        poll = await node.store.poll(node.node_id, node.known_workflows())
        if node.fence() is not identity:
            return
        if not poll.alive:
            counters["poll.fenced"] += 1
            await node.renew()  # the commit finds out, and the node is reborn
            return
        if poll.due:
            node.want_runs()
        if poll.next_due_ms is not None:
            if poll.next_due_ms <= node.store.now_ms():
                await node.reaper.expire()
            else:
                node.timers.at(poll.next_due_ms)
        for run_id in poll.mailed:
            node.mailed(run_id)
        if poll.orphans:
            node.reaper.has_orphans = True
            node.reaper.kick()
