"""A node: an identity in the store, a lease, and the loops that keep its runs moving.

Any process that opens an embedded client is one. The store is all that nodes share. What clients ask for is in
``embedded.py``; how a batch is written in ``committer.py``.
"""

import asyncio
import logging
import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import uuid_utils

from stepwell.clock import Alarm, Clock, boot_id
from stepwell.engine.api import Worker
from stepwell.engine.claims import Claims
from stepwell.engine.cleaner import Cleaner
from stepwell.engine.committer import Committer
from stepwell.engine.mailbox import Postman
from stepwell.engine.pulse import Pulse
from stepwell.engine.reaper import Reaper
from stepwell.engine.session import LocalSession
from stepwell.engine.timers import StoreAlarm, Timers
from stepwell.engine.watchers import Watchers
from stepwell.errors import ForkedClientError, StepwellError, UnavailableError
from stepwell.failpoints import counters
from stepwell.progress import Held, Message, Progress, Recorded, Refused
from stepwell.settings import Settings
from stepwell.store.base import Bury, Committed, NotApplied, Operation, Store, StoredRun, Triggered

_log: Final = logging.getLogger("stepwell.engine")
_AGAIN_S: Final = 0.02
_LOOK_MS: Final = 200


class Node:
    """One participant. Open it in the process and on the loop that use it."""

    def __init__(self, store: Store, *, clock: Clock, settings: Settings) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.node_id = ""
        self.sessions: list[LocalSession] = []
        self.watchers = Watchers()
        self.written = Watchers()
        """By the names of collections."""
        self._pid = 0
        self._is_stopping = False
        self._is_closed = False
        self._mail: set[str] = set()

    async def open(self) -> None:
        """Open the store and enrol.

        Raises:
            UnavailableError: The store cannot be opened. CorruptStoreError: it is damaged, foreign or newer.
        """
        self._pid = os.getpid()
        await self.store.open()
        self.committer = Committer(self.store, self.settings, self)
        self.offer: Callable[[Held], None] = self.committer.offer
        self.claims = Claims(self)
        self.reaper = Reaper(self)
        self._cleaner = Cleaner(self)
        self.timers = Timers(self.call_at, self.store.now_ms, self._due)
        self._pulse = Pulse(self)
        self._postman = Postman(self)
        try:
            await self._patiently(self._enrol)
        except BaseException:
            await self.store.close()
            raise
        self.committer.start()
        self._postman.start()
        self.store.watch(self._postman.hear)

    async def _enrol(self) -> None:
        self.node_id = str(uuid_utils.uuid7())
        self.committer.number = 0
        await self.store.enrol(self.node_id, self._info())

    async def _patiently(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write beside the committer, as often as the settings have patience for.

        Raises:
            UnavailableError: The store could not be written.
        """
        loop = asyncio.get_running_loop()
        late_s = loop.time() + self.settings.patience_ms / 1000
        while True:
            try:
                await write()
                return
            except NotApplied as error:
                if loop.time() > late_s:
                    raise UnavailableError(
                        f"the store could not be written for {self.settings.patience_ms} ms: {error}"
                    ) from None
                await asyncio.sleep(_AGAIN_S)

    async def _describe(self) -> None:
        await self.store.describe(self.node_id, self._info())

    def _info(self) -> str:
        info = {"pid": self._pid, "host": platform.node(), "workflows": self.known_workflows()}
        return msgspec.json.encode(info).decode()

    async def close(self) -> None:
        """Hand back what is held, and leave."""
        self._is_stopping = True
        for session in list(self.sessions):
            await _quietly(session.close())
        await self._stop_loops()
        await self.committer.close()
        # A node that cannot say good-bye is found dead by its lock, which goes with the store.
        await _quietly(self.store.retire(self.node_id))
        await self.store.close()
        self._is_closed = True
        self.watchers.everything()
        self.written.everything()

    async def _stop_loops(self) -> None:
        self.timers.stop()
        for loop in (self._pulse, self._postman, self.reaper, self.claims, self._cleaner):
            await loop.stop()

    def here(self) -> None:
        """Make sure that this is the process that opened the node, and that the node is open.

        Raises:
            ForkedClientError: It is a fork of that process.
            UnavailableError: The node was closed.
        """
        if os.getpid() != self._pid:
            raise ForkedClientError("this client was opened before a fork: open one in the child process")
        if self._is_closed:
            raise UnavailableError("this client is closed")

    # -- sessions

    async def open_session(self, workflows: Sequence[tuple[str, str]], worker: Worker) -> LocalSession:
        """See ``Engine.work``."""
        self.here()
        session = LocalSession(self, worker, workflows)
        self.sessions.append(session)
        try:
            await self._patiently(self._describe)
        except BaseException:
            self.sessions.remove(session)
            raise
        await self.committer.renew()
        for loop in (self._pulse, self.reaper, self.claims, self._cleaner):
            loop.start()
        self.reaper.has_orphans = True
        await self.reaper.tick()
        session.is_assigning = True
        self.want_runs()
        self._pulse.kick()
        self._cleaner.kick()
        return session

    def ended(self, session: LocalSession) -> None:
        """A session is closed."""
        if session in self.sessions:
            self.sessions.remove(session)
            if not self._is_stopping:
                self._spawn(self._describe())

    def known_workflows(self) -> list[tuple[str, str]]:
        """Return what the workers of this node know."""
        return sorted({key for session in self.sessions for key in session.workflows})

    def retention(self) -> dict[tuple[str, str], int]:
        """See ``Cleaning.retention``. Where workers do not agree, the longest time counts; one that says nothing: for ever."""
        found: dict[tuple[str, str], int] = {}
        for key in self.known_workflows():
            kept = [session.retention.get(key) for session in self.sessions if key in session.names]
            if None not in kept:
                found[key] = max(ms for ms in kept if ms is not None)
        return found

    def session_for(self, workflow: str, version: str) -> LocalSession | None:
        """Return a session that could execute a new run now, ahead of nobody."""
        for session in self.sessions:
            if (workflow, version) in session.names and not session.has_backlog and session.room() > 0:
                return session
        return None

    def knows(self, workflow: str, version: str) -> bool:
        """Tell whether a worker of this node takes these runs."""
        return any((workflow, version) in session.names and session.is_assigning for session in self.sessions)

    def holder(self, run_id: str) -> LocalSession | None:
        """Return the session that holds a run."""
        return next((session for session in self.sessions if run_id in session.held), None)

    # -- the committer's owner

    def lease_ms(self) -> int | None:
        """Return the lease to take with each commit: none while this node has no worker."""
        return self.settings.lease_ms if self.sessions else None

    async def renew(self) -> None:
        """Renew the lease by a commit."""
        await self.committer.renew()

    async def submit(self, operation: Operation) -> Any:
        """Commit an operation and return its result."""
        return await self.committer.submit(operation)

    async def submit_all(self, operations: Sequence[Operation]) -> list[Any]:
        """Commit operations together and return their results."""
        return await self.committer.submit_all(operations)

    async def hand_back(self, run_id: str, turn: int, *, is_lost: bool = False) -> None:
        """Give up a run that no executor holds any more: it is due at once."""
        lost = self.settings.quarantine_pause if is_lost else 0
        await self.submit(Progress(run_id=run_id, turn=turn, events=[], mailbox_consumed=0, release=True, lost=lost))

    def drop(self, run_id: str, turn: int) -> None:
        """Hand back a run that was claimed and will not be executed here."""
        self._spawn(self._drop(run_id, turn))

    async def _drop(self, run_id: str, turn: int) -> None:
        await self.hand_back(run_id, turn)
        self.want_runs()

    def compare(self) -> None:
        """Compare what the store says is owned with what is held."""
        self._spawn(self.committer.between(self.forgot))

    def fence(self) -> object:
        """Return what changes when this node comes back under a new identity."""
        return self.node_id

    def is_awaited(self, run_id: str) -> bool:
        """See ``Owner.is_awaited``."""
        return self.watchers.is_awaited(run_id)

    def over(self, stored: StoredRun) -> None:
        """See ``Owner.over``."""
        self.watchers.over(stored.row.run_id, stored)

    def recorded(self, held: Held, progress: Progress, outcome: Recorded | Refused) -> None:
        """See ``Owner.recorded``."""
        if isinstance(outcome, Refused):
            counters[f"refused.{outcome.reason}"] += 1
            if outcome.reason == "message":
                self.drop(held.run_id, held.turn)
            # It may have ended without this node: who waits here for a run that is held here has not looked yet.
            self.watchers.over(held.run_id)
            return
        if progress.final is not None and outcome.quiet:
            self.watchers.over(held.run_id)
            return
        self.watchers.moved(held.run_id)
        if outcome.mailbox_seq > progress.mailbox_consumed and not progress.misfit:
            self.mailed(held.run_id)
        let_go = progress.suspend
        if let_go is not None and outcome.quiet:
            self.timers.at(let_go.wake_at_ms)
            self.timers.at(held.deadline_ms)
        elif progress.release:
            self.timers.at(held.deadline_ms)  # it may be paused
            self.want_runs()

    def moved_others(self, committed: Committed) -> None:
        """See ``Owner.moved_others``."""
        for name in committed.collections:
            self.written.moved(name)
        if not (committed.mailed or committed.ended):
            return
        self.taken_away(committed.ended, is_over=True)
        for run_id in committed.mailed:
            self.mailed(run_id)
        self.want_runs()

    def unheard(self, triggered: Triggered) -> None:
        """See ``Owner.unheard``."""
        if triggered.claimed and triggered.row is not None:
            self.drop(triggered.row.run_id, triggered.row.turn)
        else:
            self.want_runs()

    async def reborn(self) -> None:
        """See ``Owner.reborn``."""
        old = self.node_id
        _log.warning("node %s was fenced: it drops its runs and comes back under a new identity", old)
        for session in self.sessions:
            session.interrupt_all("fenced")
        await self._enrol()
        self._spawn(self._bury_itself(old))

    def stopped(self) -> None:
        """See ``Owner.stopped``."""
        for session in self.sessions:
            session.interrupt_all("closed")

    async def _bury_itself(self, old: str) -> None:
        await self.submit(Bury(known_dead=[old], boot_ms=self.clock.boot_ms(), boot_id=boot_id()))
        self.reaper.has_orphans = True
        self.reaper.kick()
        self.want_runs()

    async def forgot(self) -> None:
        """See ``Owner.forgot``. Called while no batch is in flight."""
        owned = {run.run_id: run.turn for run in await self.store.owned(self.node_id)}
        held = {run_id: one.turn for session in self.sessions for run_id, one in session.held.items()}
        for run_id, turn in held.items():
            if owned.get(run_id) != turn:
                counters["reconcile.lost"] += 1
                self.taken_away([run_id], is_over=False)
        for run_id, turn in owned.items():
            if held.get(run_id) != turn and run_id not in self.claims.arriving:
                counters["reconcile.forgotten"] += 1
                self.drop(run_id, turn)

    def taken_away(self, run_ids: Sequence[str], *, is_over: bool) -> None:
        """These runs are not this node's any more."""
        for run_id in run_ids:
            self.claims.arriving.discard(run_id)
            session = self.holder(run_id)
            if session is not None:
                session.interrupt(run_id, "lost")
            if is_over:
                self.watchers.over(run_id)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        _background.add(task)
        task.add_done_callback(_background.discard)

    # -- what wakes

    def want_runs(self) -> None:
        """Claim, if a worker has room."""
        if self.sessions and not self._is_stopping:
            self.claims.kick()

    def _due(self) -> None:
        self.want_runs()
        # What this node let go of is in the timers; the rest, and deadlines, need not be asked for with each of thousands.
        self._pulse.kick_within(_LOOK_MS)

    def pulse(self) -> None:
        """Ask the store what there is to do, soon."""
        self._pulse.kick()

    def pulse_within(self, ms: int) -> None:
        """Ask the store within this time what there is to do."""
        self._pulse.kick_within(ms)

    def mailed(self, run_id: str) -> None:
        """A held run has messages that its executor has not seen."""
        self._mail.add(run_id)
        self._postman.kick()

    def delivered(self, run_id: str, message: Message) -> None:
        """A message was stored by this very node: hand it over without asking the store."""
        session = self.holder(run_id)
        if session is not None:
            session.deliver(run_id, [message])
        else:
            self.mailed(run_id)

    def take_mail(self) -> list[str]:
        """Return the held runs whose messages are to be fetched; those of runs that are still being loaded are kept."""
        mail, self._mail = self._mail, {run_id for run_id in self._mail if run_id in self.claims.arriving}
        return [run_id for run_id in mail if self.holder(run_id) is not None]

    def arrived(self) -> None:
        """Runs were loaded, and are held now: what has come for them meanwhile can be handed over."""
        if self._mail:
            self._postman.kick()

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        """Call back at a time of the store's clock."""
        return StoreAlarm(self.store, self.clock, when_ms, callback)


_background: Final[set[asyncio.Task[None]]] = set()


async def _quietly(work: Any) -> None:
    try:
        await work
    except StepwellError as error:
        _log.info("left undone: %s", error)
