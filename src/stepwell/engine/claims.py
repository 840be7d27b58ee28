"""Takes due runs for the workers of this node, and loads them."""

import asyncio
import logging
import secrets
from typing import Any, Final, Protocol

import msgspec

from stepwell.engine.created import read_created
from stepwell.engine.loop import Loop
from stepwell.engine.session import LocalSession
from stepwell.execution.call import printable
from stepwell.execution.rest import waiting_text
from stepwell.failpoints import counters, failpoint
from stepwell.progress import Assignment, Progress, Waiting
from stepwell.settings import Settings
from stepwell.store.base import Claim, Claimed, History, Operation, RunRow, Store

_log: Final = logging.getLogger("stepwell.engine")
_AT_ONCE: Final = 500
_UNREADABLE_MS: Final = 60_000
_AGAIN_MS: Final = 20


class Claimer(Protocol):
    """The node, as its claims see it."""

    sessions: list[LocalSession]
    settings: Settings
    store: Store

    async def submit(self, operation: Operation) -> Any: ...

    def arrived(self) -> None:
        """Runs were loaded, and are held now."""
        ...

    def drop(self, run_id: str, turn: int) -> None:
        """Hand back a run that was claimed and will not be executed here."""
        ...

    def fence(self) -> object:
        """Something that changes when the node comes back under a new identity."""
        ...


class Claims(Loop):
    """Ticks when there may be something to claim."""

    def __init__(self, node: Claimer) -> None:
        super().__init__(None)
        self.arriving: set[str] = set()
        """Runs that are claimed and being loaded: owned, and not held yet. One that is taken out ended meanwhile: drop it."""
        self._node = node
        self._again_ms = _AGAIN_MS
        self._will_look_again = False

    async def tick(self) -> int:
        """Claim for every session with room until nothing is due; return how many runs were taken."""
        taken, passed_over = 0, False
        for session in list(self._node.sessions):
            if session.room() <= 0:
                # What made us look is still there when there is room: that is the time to look again, not the next poll.
                session.has_backlog = True
            while (room := min(session.room(), _AT_ONCE)) > 0:
                session.reserved += room
                try:
                    claimed, count = await self._claim(session, room)
                finally:
                    session.reserved -= room
                taken += count
                passed_over |= claimed.passed_over
                session.has_backlog = claimed.more
                if not claimed.more:
                    break
        self._look_again(passed_over)
        return taken

    def _look_again(self, passed_over: bool) -> None:
        """Soon look at what somebody else had locked, less and less often as long as nothing becomes of it."""
        if not passed_over:
            self._again_ms = _AGAIN_MS
            return
        counters["claims.passed_over"] += 1
        if self._will_look_again:
            return
        self._will_look_again = True
        wait_ms = self._again_ms * (50 + secrets.randbelow(100)) / 100
        self._again_ms = min(2 * self._again_ms, self._node.settings.poll_ms)
        asyncio.get_running_loop().call_later(wait_ms / 1000, self._again)

    def _again(self) -> None:
        self._will_look_again = False
        self.kick()

    async def _claim(self, session: LocalSession, room: int) -> tuple[Claimed, int]:
        node, settings = self._node, self._node.settings
        alone = 0 if session.suspects else 1
        claimed = await node.submit(
            Claim(
                workflows=session.workflows, limit=room, alone_from=settings.quarantine_alone, alone_max=alone,
                at_ms=node.store.now_ms(),
            )
        )  # fmt: skip
        assert isinstance(claimed, Claimed)
        # Not before: a claim that was on its way while the node was fenced is committed under the new identity.
        identity = node.fence()
        failpoint("claim.loaded")
        turns = {row.run_id: row.turn for row in claimed.rows}
        self.arriving.update(turns)
        try:
            for history in await node.store.load(list(turns)) if turns else ():
                if node.fence() is not identity:
                    turns.clear()
                    break
                row = history.row
                if row.run_id not in self.arriving:
                    del turns[row.run_id]
                    continue
                if session.is_assigning:
                    await self._hand_over(session, history)
                    del turns[row.run_id]
        finally:
            self.arriving.difference_update(row.run_id for row in claimed.rows)
            for run_id, turn in turns.items():
                node.drop(run_id, turn)
            node.arrived()
        return claimed, len(claimed.rows) - len(turns)

    async def _hand_over(self, session: LocalSession, history: History) -> None:
        """Give a run to the worker, or put it aside if its history cannot be read."""
        row = history.row
        try:
            session.assign(assignment_of(row, history), is_suspect=row.streak >= self._node.settings.quarantine_alone)
        except (msgspec.MsgspecError, IndexError, ValueError) as error:
            _log.error("run %s cannot be read, it is put aside: %s", row.run_id, error)
            due_ms = self._node.store.now_ms() + _UNREADABLE_MS
            aside = Waiting(waiting_text("code", printable(f"its history cannot be read: {error}", 1_000), due_ms, 0), due_ms)
            await self._node.submit(
                Progress(run_id=row.run_id, turn=row.turn, events=[], mailbox_consumed=0, misfit=True, suspend=aside)
            )


def assignment_of(row: RunRow, history: History) -> Assignment:
    """Return what a worker needs to execute a claimed run."""
    created = read_created(history.events[0].payload)
    return Assignment(
        run_id=row.run_id, turn=row.turn, workflow=row.workflow, version=row.version, attempt=row.attempt,
        parent_run_id=row.parent_run_id, tags=created.tags, input=created.input_text, seed=created.seed,
        max_events=row.max_events, seq=row.seq, started_at_ms=row.started_at or row.created_at, deadline_ms=row.deadline,
        tries=row.tries, mailbox_consumed=row.mailbox_consumed, history=history.events, messages=history.messages,
    )  # fmt: skip
