"""A worker of this process: what it holds, and how much more it could."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from stepwell.clock import Clock
from stepwell.engine.api import Worker
from stepwell.progress import WRITINGS_MAX, Assignment, Held, Message
from stepwell.store.base import Store

_MARGIN_MS: Final = 250
"""A body starts only while the lease holds for so much longer: between the check and its first instruction time may pass."""


class Home(Protocol):
    """The node, as a session sees it."""

    offer: Callable[[Held], None]
    """Ask this run for progress when the next commit is made."""

    def want_runs(self) -> None:
        """Claim, if there is something to claim."""
        ...

    store: Store
    clock: Clock

    async def renew(self) -> None: ...

    async def hand_back(self, run_id: str, turn: int, *, is_lost: bool = False) -> None: ...

    def ended(self, session: "LocalSession") -> None: ...


class LocalSession:
    """Implements ``Session`` for a worker in the node's own process."""

    def __init__(self, home: Home, worker: Worker, workflows: Sequence[tuple[str, str]]) -> None:
        self.workflows = list(workflows)
        self.names = frozenset(workflows)
        self.retention = dict(worker.retention)
        """See ``Worker.retention``."""
        self.held: dict[str, Held] = {}
        self.is_assigning = False
        """Not while the worker opens, which does not know its session yet, nor after it was told to stop."""
        self.has_backlog = False
        """The last claim left something: new runs have to queue up behind it."""
        self.suspects: set[str] = set()
        """Held runs that keep losing their worker; they are executed one at a time."""
        self.writings_max = WRITINGS_MAX
        self.reserved = 0
        """Room that claims and triggers under way may use."""
        self.offer = home.offer
        self._home = home
        self._worker = worker
        self._store = home.store
        self._boot_ms = home.clock.boot_ms

    def room(self) -> int:
        """Return how many more runs could be claimed."""
        return self._worker.room() - self.reserved if self.is_assigning else 0

    def assign(self, assignment: Assignment, *, is_suspect: bool = False) -> None:
        """Give a run, which this node owns, to the worker."""
        self.held[assignment.run_id] = self._worker.assigned(assignment)
        if is_suspect:
            self.suspects.add(assignment.run_id)

    def deliver(self, run_id: str, messages: Sequence[Message]) -> None:
        """Tell a held run of messages; one that is not held any more hears nothing."""
        held = self.held.get(run_id)
        if held is not None:
            held.deliver(messages)

    def interrupt(self, run_id: str, reason: str) -> None:
        """Make the worker drop a run."""
        held = self.held.get(run_id)
        if held is not None:
            held.interrupt(reason)

    def interrupt_all(self, reason: str) -> None:
        """Make the worker drop everything."""
        for held in list(self.held.values()):
            held.interrupt(reason)

    # -- for the worker

    def let_go(self, held: Held) -> None:
        """See ``Session.let_go``."""
        if self.held.get(held.run_id) is held:
            del self.held[held.run_id]
            self.suspects.discard(held.run_id)
            self.has_room()

    def has_room(self) -> None:
        """See ``Session.has_room``."""
        if self.has_backlog and self.is_assigning:
            self._home.want_runs()

    def may_start(self) -> bool:
        """See ``Session.may_start``."""
        return self._store.lease_until_boot_ms - self._boot_ms() > _MARGIN_MS

    def lease_left_ms(self) -> int:
        """See ``Session.lease_left_ms``."""
        return self._store.lease_until_boot_ms - self._boot_ms()

    async def until_may_start(self) -> None:
        """See ``Session.until_may_start``."""
        while not self.may_start():
            await self._home.renew()

    async def until_lost(self) -> None:
        """See ``Session.until_lost``. A store that is away may come back, and calls wait for it as long as the settings say."""
        await asyncio.get_running_loop().create_future()

    def stop_assigning(self) -> None:
        """See ``Session.stop_assigning``."""
        self.is_assigning = False

    async def close(self, *, is_lost: bool = False) -> None:
        """See ``Session.close``."""
        self.stop_assigning()
        left = list(self.held.values())
        for held in left:
            held.interrupt("closed")
        try:
            # At once, so that they share a commit.
            await asyncio.gather(*(self._home.hand_back(held.run_id, held.turn, is_lost=is_lost) for held in left))
        finally:
            self._home.ended(self)
        await asyncio.sleep(0)
