"""A worker at the other end of a connection, as its session here sees it: what it holds, what it was told, and what it said.

A link outlives its connection by a moment, so that a worker whose connection was lost can go on with what it holds. It knows
frames, and neither sockets nor keys.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final, Protocol

from stepwell import codec
from stepwell.engine.api import Session
from stepwell.errors import PayloadTooLargeError, ValidationError
from stepwell.model import EVENT_TYPES
from stepwell.progress import EVENTS_MAX, Assignment, Message, Outcome, Progress, Recorded, Refused
from stepwell.remote.frames import (
    DRAIN,
    Deliver,
    Done,
    Down,
    Interrupt,
    ProgressFrame,
    WireEvent,
)
from stepwell.remote.words import assign_frame, read_progress, settled_frame, wire_messages
from stepwell.server.writings import ProtocolError, with_writings
from stepwell.settings import Settings

_OVERHEAD_BYTES: Final = 64 * 1024
"""What an event's payload has around the value that the limit is about: attempts, times, a traceback."""
_OVERHEAD_LEVELS: Final = 4
_WORKERS_TYPES: Final = EVENT_TYPES - {
    "run_created", "run_started", "run_paused", "run_resumed", "run_forked", "run_completed", "run_failed", "run_cancelled",
    "hook_created",
}  # fmt: skip
"""What a worker may record. The rest is written by the engine, or ends the run and goes by itself."""


class Line(Protocol):
    """A connection, as its link sees it."""

    def push(self, frame: Down) -> None:
        """Send a frame, soon."""
        ...

    def is_full(self) -> bool:
        """Whether so much is queued that more runs would be too much."""
        ...


class RemoteHeld:
    """A run in the hands of a worker elsewhere. Implements ``progress.Held``: it hands over what the frames brought."""

    __slots__ = (
        "_is_draining",
        "_is_dropped",
        "_link",
        "_messages",
        "_offered",
        "_outcome",
        "_settled_no",
        "_taken",
        "deadline_ms",
        "ended",
        "run_id",
        "turn",
    )

    def __init__(self, link: "Link", assignment: Assignment) -> None:
        self.run_id = assignment.run_id
        self.turn = assignment.turn
        self.deadline_ms = assignment.deadline_ms
        self.ended = ""
        """Empty while this session holds the run; then why it does not any more."""
        self._link = link
        self._is_draining = False
        self._is_dropped = False
        self._offered: tuple[int, Progress] | None = None
        self._taken: tuple[int, Progress] | None = None
        self._settled_no = 0
        self._outcome: Outcome | None = None
        self._messages: tuple[Message, ...] = ()
        """Delivered, and not known to be transcribed: said again on another connection."""

    # -- for the worker

    def said(self, no: int, progress: Progress) -> None:
        """The worker has sent a progress. One that was settled before is answered again, and one under way when it is."""
        if no == self._settled_no and self._outcome is not None:
            self._answer()
        elif self.ended:
            self._link.push(settled_frame(self.run_id, self.turn, no, Refused("guard", 0)))
        elif self._offered is not None or self._taken is not None:
            pending = self._offered or self._taken
            if pending is None or pending[0] != no:
                raise ProtocolError(f"progress {no} of run {self.run_id!r} before the one before it was settled")
        elif no != self._settled_no + 1:
            raise ProtocolError(f"progress {no} of run {self.run_id!r}, which has {self._settled_no}")
        else:
            self._offered = (no, progress)
            self._link.session.offer(self)

    def dropped(self) -> None:
        """The worker holds the run no more. If it is still owned after all that was sent is recorded, it is handed back."""
        self._is_dropped = True
        if not self.ended and self._taken is None and self._offered is None:
            release = Progress(run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=0, release=True)
            self._offered = (self._settled_no + 1, release)
            self._link.session.offer(self)

    def told_again(self) -> None:
        """Say again what may not have arrived."""
        if self._messages:
            self._link.push(Deliver(self.run_id, self.turn, wire_messages(self._messages)))
        if self._is_draining:
            self.drain()

    # -- for the session

    def take(self) -> Progress | None:
        """See ``Held.take``."""
        if self._offered is None or self._taken is not None:
            return None
        self._taken, self._offered = self._offered, None
        return self._taken[1]

    def settled(self, outcome: Outcome) -> None:
        """See ``Held.settled``."""
        if self._taken is None:
            return
        (self._settled_no, progress), self._taken = self._taken, None
        self._outcome = outcome
        if self._messages:
            self._messages = tuple(m for m in self._messages if m.mailbox_seq > progress.mailbox_consumed)
        self._answer()
        if isinstance(outcome, Recorded):
            if progress.release or (outcome.quiet and (progress.final is not None or progress.suspend is not None)):
                self._end("over")
        elif outcome.reason != "limit":
            self._end("lost")
        if self._is_dropped:
            self.dropped()

    def deliver(self, messages: Sequence[Message]) -> None:
        """See ``Held.deliver``."""
        seen = self._messages[-1].mailbox_seq if self._messages else 0
        self._messages += tuple(message for message in messages if message.mailbox_seq > seen)
        self._link.push(Deliver(self.run_id, self.turn, wire_messages(messages)))

    def drain(self) -> None:
        """See ``Held.drain``."""
        self._is_draining = True
        if not self.ended:
            self._link.push(Interrupt(self.run_id, self.turn, DRAIN))

    def interrupt(self, reason: str) -> None:
        """See ``Held.interrupt``."""
        if not self.ended:
            self._link.push(Interrupt(self.run_id, self.turn, reason))
            self._end(reason)

    def _answer(self) -> None:
        assert self._outcome is not None
        self._link.push(settled_frame(self.run_id, self.turn, self._settled_no, self._outcome))

    def _end(self, reason: str) -> None:
        self.ended = reason
        self._messages = ()
        self._link.session.let_go(self)


class Link:
    """Implements ``engine.api.Worker``. ``session`` is set once it is open."""

    def __init__(
        self, token: str, key_id: str, settings: Settings, boot_ms: Callable[[], int], retention: Mapping[tuple[str, str], int]
    ) -> None:
        self.token = token
        self.retention = retention
        self.key_id = key_id
        self.session: Session
        self.line: Line | None = None
        self.credit = 0
        self.sent = 0
        """Assignments on this connection."""
        self.heard_boot_ms = boot_ms()
        """When the worker last said something, or was first given something to hold."""
        self.promised_until_boot_ms = 0
        """Until then the worker may start bodies."""
        self.lost_boot_ms = 0
        """When its connection was lost."""
        self._boot_ms = boot_ms
        self._settings = settings
        self._is_draining = False
        self._runs: dict[tuple[str, int], RemoteHeld] = {}

    def push(self, frame: Down) -> None:
        """Say something; without a connection it is said, in another way, when the worker comes back."""
        if self.line is not None:
            self.line.push(frame)

    @property
    def holds(self) -> bool:
        """Whether the worker holds anything. It may still have to say that it is done with what is over."""
        return any(not held.ended for held in self._runs.values())

    # -- for the session

    def room(self) -> int:
        """See ``Worker.room``."""
        line = self.line
        return 0 if line is None or line.is_full() else max(0, self.credit - self.sent)

    def assigned(self, assignment: Assignment) -> RemoteHeld:
        """See ``Worker.assigned``."""
        if not self._runs:
            self.heard_boot_ms = max(self.heard_boot_ms, self._boot_ms())
        held = RemoteHeld(self, assignment)
        self._runs[held.run_id, held.turn] = held
        self.sent += 1
        self.push(assign_frame(assignment))
        if self._is_draining:
            held.drain()  # it was on its way
        return held

    # -- for the connection

    def drain(self) -> None:
        """The server stops: no more runs, and those that are held are handed back as soon as no body is under way."""
        self._is_draining = True
        self.session.stop_assigning()
        for held in list(self._runs.values()):
            held.drain()

    def has_credit(self, credit: int) -> None:
        """The worker says how much it takes."""
        more = credit > self.credit
        self.credit = credit
        if more:
            self.session.has_room()

    def progressed(self, frame: ProgressFrame, forbidden: Container[str] = ()) -> None:
        """The worker has something to record. ``forbidden`` are collections that its key may not write to.

        Raises:
            ProtocolError: It is nothing that a worker may record.
        """
        held = self._runs.get((frame.run_id, frame.turn))
        if held is None:
            self.push(settled_frame(frame.run_id, frame.turn, frame.no, Refused("guard", 0)))
            return
        self._check(frame)
        progress = read_progress(frame)
        if progress.writings:
            progress = with_writings(
                progress, writings_max=self.session.writings_max, forbidden=forbidden, settings=self._settings
            )  # fmt: skip
        held.said(frame.no, progress)

    def done(self, frame: Done) -> None:
        """The worker holds an assignment no more."""
        held = self._runs.pop((frame.run_id, frame.turn), None)
        if held is not None:
            held.dropped()

    def resumed(self, line: Line, holds: Sequence[tuple[str, int]]) -> None:
        """The worker is back on another connection, and says what it holds."""
        self.line = line
        self.credit = self.sent = 0
        known = set(holds)
        for key, held in list(self._runs.items()):
            if key not in known:
                # Its assignment, or the word that it is done with it, was lost.
                del self._runs[key]
                held.dropped()
        for run_id, turn in holds:
            mine = self._runs.get((run_id, turn))
            if mine is None or (mine.ended and mine.ended != "over"):
                line.push(Interrupt(run_id, turn, mine.ended if mine is not None else "lost"))
            else:
                mine.told_again()

    def _check(self, frame: ProgressFrame) -> None:
        if len(frame.events) + len(frame.quiet) > EVENTS_MAX:
            raise ProtocolError(f"more than {EVENTS_MAX} events in one progress")
        undoing = [] if frame.undoing is None else [frame.undoing]
        for event in (*frame.events, *frame.quiet, *undoing):
            if event.type not in _WORKERS_TYPES:
                raise ProtocolError(f"an event of type {event.type!r}, which a worker does not record")
            self._check_payload(event)
        if frame.undoing is not None and frame.undoing.type != "compensation_started":
            raise ProtocolError(f"undoing with an event {frame.undoing.type!r}")
        if frame.final is not None:
            if frame.final.event.type != f"run_{frame.final.status}":
                raise ProtocolError(f"status {frame.final.status!r} with an event {frame.final.event.type!r}")
            self._check_payload(frame.final.event)

    def _check_payload(self, event: WireEvent) -> None:
        try:
            codec.parse(
                bytes(event.payload), field="payload", limit_bytes=self._settings.payload_bytes_max + _OVERHEAD_BYTES,
                depth_max=self._settings.depth_max + _OVERHEAD_LEVELS,
            )  # fmt: skip
        except (ValidationError, PayloadTooLargeError) as error:
            raise ProtocolError(f"event {event.type!r}: {error}") from None
