"""A worker's session with a server: what it holds, and what passes between its executions and the wire."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from stepwell.clock import Clock
from stepwell.engine.api import Worker
from stepwell.execution.call import printable
from stepwell.execution.rest import waiting_text
from stepwell.progress import WRITINGS_MAX, Assignment, Held, Progress, Waiting
from stepwell.remote.clock import ServerClock
from stepwell.remote.frames import (
    DRAIN,
    Assign,
    Deliver,
    Done,
    Down,
    Drain,
    Interrupt,
    Limits,
    Room,
    Settled,
)
from stepwell.remote.loop_watch import LoopWatch
from stepwell.remote.wire import Wire
from stepwell.remote.words import progress_frame, read_assign, read_messages, read_settled

_log: Final = logging.getLogger("stepwell.remote")
_UNREADABLE_MS: Final = 60_000


class _Hold:
    """A run that is held."""

    __slots__ = ("held", "no", "turn")

    def __init__(self, held: Held) -> None:
        self.held = held
        self.turn = held.turn
        self.no = 0
        """The number of the progress that was sent last."""


class RemoteSession:
    """Implements ``Session`` over a wire."""

    def __init__(
        self, worker: Worker, workflows: Sequence[tuple[str, str]], *, url: str, api_key: str | None, clock: ServerClock,
        boot: Clock, agent: str, patience_s: float,
    ) -> None:  # fmt: skip
        self._worker = worker
        self._clock = clock
        self._patience_s = patience_s
        self._wire = Wire(
            url, api_key, self, clock=clock, boot=boot, agent=agent, workflows=workflows, retention=worker.retention,
            probe=LoopWatch(boot).look,
        )  # fmt: skip
        self.may_start: Callable[[], bool] = self._wire.may_start
        self.offer: Callable[[Held], None] = self._offer
        self.writings_max = 0
        self._held: dict[str, _Hold] = {}
        self._offered: deque[Held] = deque()
        self._is_flushing = False
        self._assigned = 0
        self._credit = -1
        self._is_assigning = True
        self._is_begun = False
        """Whether the worker has said that there is room, which it does once it has this session: before, nothing is assigned."""
        self._lease_moved = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def open(self) -> None:
        """Connect. Raises as ``Wire.open``."""
        await self._wire.open(self._patience_s)

    # -- for the worker

    def _offer(self, held: Held) -> None:
        self._offered.append(held)
        self._flush_soon()

    def let_go(self, held: Held) -> None:
        """See ``Session.let_go``."""
        hold = self._held.get(held.run_id)
        if hold is not None and hold.held is held:
            del self._held[held.run_id]
        self._wire.say(Done(held.run_id, held.turn), is_urgent=False)
        self._flush_soon()

    def has_room(self) -> None:
        """See ``Session.has_room``."""
        self._is_begun = True
        self._flush_soon()

    def lease_left_ms(self) -> int:
        """See ``Session.lease_left_ms``."""
        return self._wire.lease_left_ms()

    async def until_may_start(self) -> None:
        """See ``Session.until_may_start``."""
        while not self.may_start():
            self._lease_moved.clear()
            self._wire.is_lease_awaited = True
            self._wire.ask_for_lease()
            await self._lease_moved.wait()

    async def until_lost(self) -> None:
        """See ``Session.until_lost``."""
        await self._wire.until_lost()

    def stop_assigning(self) -> None:
        """See ``Session.stop_assigning``."""
        if self._is_assigning:
            self._is_assigning = False
            self._wire.say(Drain())

    async def close(self, *, is_lost: bool = False) -> None:
        """See ``Session.close``. Whether the worker is lost is the server's to find."""
        self.stop_assigning()
        self._flush()
        holds = bool(self._held)
        self._interrupt_all("closed")
        await self._wire.close(self._patience_s, holds=holds)
        await asyncio.sleep(0)

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Say what executions have to record by now, and how much room there is."""
        self._is_flushing = False
        offered = self._offered
        while offered:
            held = offered.popleft()
            progress = held.take()
            if progress is not None:
                self._record(held, progress)
        if self._is_assigning and self._is_begun:
            room = self._worker.room()
            credit = self._assigned + room
            if credit != self._credit:
                # While the server knows of much room, it need not be told of more for each run that ends.
                known, self._credit = self._credit - self._assigned, credit
                self._wire.say(Room(credit), is_urgent=known > room or 2 * known < room)

    def _record(self, held: Held, progress: Progress) -> None:
        hold = self._held.get(held.run_id)
        if hold is None or hold.held is not held:
            return  # it was let go of, and nothing more of it counts
        hold.no += 1
        self._wire.say(progress_frame(progress, hold.no))

    # -- for the wire

    def connected(self, limits: Limits, *, resumed: bool) -> None:
        """See ``wire.Owner.connected``."""
        self.writings_max = min(limits.writings_max, WRITINGS_MAX)
        self._assigned = 0
        if not resumed:
            self._interrupt_all("fenced")
        self._credit = -1
        self._flush_soon()

    def lease_moved(self) -> None:
        """See ``wire.Owner.lease_moved``."""
        if self.may_start():
            self._wire.is_lease_awaited = False
        self._lease_moved.set()

    def received(self, frames: Sequence[Down]) -> None:
        """See ``wire.Owner.received``."""
        for frame in frames:
            if isinstance(frame, Settled):
                hold = self._find(frame.run_id, frame.turn)
                if hold is None:
                    self._wire.say(Done(frame.run_id, frame.turn))
                elif hold.no == frame.no:
                    hold.held.settled(read_settled(frame))
            elif isinstance(frame, Assign):
                self._assign(frame)
            elif isinstance(frame, Deliver):
                hold = self._find(frame.run_id, frame.turn)
                if hold is not None:
                    hold.held.deliver(read_messages(frame.messages))
            elif isinstance(frame, Interrupt):
                hold = self._find(frame.run_id, frame.turn)
                if hold is None:
                    continue
                if frame.reason == DRAIN:
                    hold.held.drain()
                else:
                    hold.held.interrupt(frame.reason)

    def _find(self, run_id: str, turn: int) -> _Hold | None:
        hold = self._held.get(run_id)
        return hold if hold is not None and hold.turn == turn else None

    def _assign(self, frame: Assign) -> None:
        self._assigned += 1
        if not self._is_assigning:
            self._wire.say(Done(frame.run_id, frame.turn))
            return
        before = self._held.get(frame.run_id)
        if before is not None:
            before.held.interrupt("lost")
        assignment = read_assign(frame)
        try:
            held = self._worker.assigned(assignment)
        except (msgspec.MsgspecError, IndexError, ValueError) as error:
            self._put_aside(assignment, error)
            return
        self._held[frame.run_id] = _Hold(held)

    def _put_aside(self, assignment: Assignment, error: Exception) -> None:
        """Let go of a run whose history cannot be read, as the engine does with one that it cannot read itself."""
        _log.error("run %s cannot be read, it is put aside: %s", assignment.run_id, error)
        due_ms = self._clock.now_ms() + _UNREADABLE_MS
        text = waiting_text("code", printable(f"its history cannot be read: {error}", 1_000), due_ms, 0)
        progress = Progress(
            run_id=assignment.run_id, turn=assignment.turn, events=[], mailbox_consumed=0, misfit=True,
            suspend=Waiting(text, due_ms),
        )  # fmt: skip
        self._wire.say(progress_frame(progress, 1))

    def _interrupt_all(self, reason: str) -> None:
        for hold in list(self._held.values()):
            hold.held.interrupt(reason)
