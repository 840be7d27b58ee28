"""What a run has to record and has not committed yet, and who waits for that.

Two generations: what the session has taken and is committing, and what has come since.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from stepwell.progress import EVENTS_CHARACTERS_MAX, EVENTS_MAX, NewEvent, Progress, WriteRecords, Writing

_Pending: TypeAlias = "tuple[Writing, asyncio.Future[NewEvent]]"


class Outbox:
    """The uncommitted events of one run."""

    __slots__ = (
        "_barriers", "_committing_barriers", "_committing_places", "_committing_writings", "_loop", "_places", "_writings",
        "awaits", "committing_count", "consumed", "counted", "events", "has_outcome", "is_committing", "undo",
    )  # fmt: skip

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.consumed: tuple[tuple[int, str], ...] = ()
        self.has_outcome = False
        self.awaits: tuple[str, ...] = ()
        self.undo = 0
        self.counted: int | None = None
        """How many of the events ``max_events`` counts: the first ones. None: all."""
        self.is_committing = False
        self.committing_count = 0
        self._loop = asyncio.get_running_loop()
        self._barriers: list[asyncio.Future[None]] = []
        self._committing_barriers: list[asyncio.Future[None]] = []
        self._writings: list[_Pending] = []
        self._committing_writings: list[_Pending] = []
        self._places: list[int] = []
        """Behind how many of the events each of ``consumed`` was transcribed."""
        self._committing_places: list[int] = []

    @property
    def count(self) -> int:
        """How many events are not known to be committed."""
        return len(self.events) + self.committing_count

    def barrier(self) -> "asyncio.Future[None] | None":
        """Return what is done when all that is in here now is committed (never, if it never is); None if it is already."""
        if self.events:
            barriers = self._barriers
        elif self.is_committing:
            barriers = self._committing_barriers
        else:
            return None
        barrier = self._loop.create_future()
        barriers.append(barrier)
        return barrier

    def until_writable(self, writings_max: int) -> "asyncio.Future[None] | None":
        """Return what is done when records may be written along with the next commit; None if they may now."""
        return self.barrier() if len(self._writings) >= writings_max else None

    def write(self, event: NewEvent, request: WriteRecords) -> "asyncio.Future[NewEvent]":
        """Have records written along with an event, which the commit composes; return what is that event then."""
        future: asyncio.Future[NewEvent] = self._loop.create_future()
        self._writings.append((Writing(place=len(self.events), request=request), future))
        self.events.append(event)
        return future

    def consume(self, mailbox_seq: int, message_id: str) -> None:
        """Note that a message is transcribed, by the event that comes next if it makes one."""
        self.consumed += ((mailbox_seq, message_id),)
        self._places.append(len(self.events))

    def portion(self) -> int:
        """Return how many of the events one progress may have: all, but rarely."""
        sizes = {writing.place: writing.request.size for writing, _ in self._writings}
        left = EVENTS_CHARACTERS_MAX
        for place, event in enumerate(self.events):
            left -= len(event.payload) + sizes.get(place, 0)
            if place == EVENTS_MAX or (left < 0 and place):
                return place
        return len(self.events)

    def take_part_into(self, progress: Progress, count: int) -> None:
        """Hand over the first events, with the messages that they transcribe and what is written along with them.

        What is only counted or waited for goes along at once: that may be recorded before its event, but not after. Barriers are
        done when all that was in here is committed.
        """
        progress.events, self.events = self.events[:count], self.events[count:]
        read = bisect_left(self._places, count)
        progress.consumed, self.consumed = self.consumed[:read], self.consumed[read:]
        progress.mailbox_consumed -= len(self.consumed)
        self._committing_places, self._places = self._places[:read], [place - count for place in self._places[read:]]
        progress.has_outcome = self.has_outcome
        progress.awaits, progress.undo = self.awaits, self.undo
        self.awaits, self.undo = (), 0
        if self.counted is not None:
            progress.beyond, self.counted = max(0, count - self.counted), max(0, self.counted - count)
        self._committing_writings = [pending for pending in self._writings if pending[0].place < count]
        self._writings = _moved(self._writings[len(self._committing_writings) :], -count)
        progress.writings = [writing for writing, _ in self._committing_writings]
        self.committing_count = count
        self.is_committing = True

    def take_into(self, progress: Progress) -> None:
        """Hand over the events, and what goes with them."""
        progress.events, progress.consumed, progress.has_outcome = self.events, self.consumed, self.has_outcome
        if self.awaits or self.undo:
            progress.awaits, progress.undo = self.awaits, self.undo
            self.awaits, self.undo = (), 0
        if self.counted is not None:
            progress.beyond, self.counted = len(self.events) - self.counted, 0
        if self._writings:
            progress.writings = [writing for writing, _ in self._writings]
            self._committing_writings, self._writings = self._writings, []
        self.committing_count = len(self.events)
        self.events, self.consumed, self.has_outcome = [], (), False
        self._committing_places, self._places = self._places, []
        self.is_committing = True
        self._committing_barriers, self._barriers = self._barriers, []

    def take_back(self, progress: Progress) -> None:
        """What was taken was not committed: it goes with the next, and is not counted any more."""
        taken = len(progress.events)
        self._writings, self._committing_writings = [*self._committing_writings, *_moved(self._writings, taken)], []
        self._places, self._committing_places = [*self._committing_places, *(place + taken for place in self._places)], []
        self.events[:0] = progress.events
        self.consumed = (*progress.consumed, *self.consumed)
        self.awaits = (*progress.awaits, *self.awaits)
        self.has_outcome |= progress.has_outcome
        self.undo += progress.undo
        self.counted = 0
        self.is_committing = False
        self.committing_count = 0
        self._barriers, self._committing_barriers = [*self._committing_barriers, *self._barriers], []

    def committed(self, written: Sequence[NewEvent] = ()) -> None:
        """What was taken is committed: those who waited for it go on."""
        self.is_committing = False
        if written:
            writings, self._committing_writings = self._committing_writings, []
            for (_, future), event in zip(writings, written, strict=True):
                if not future.done():
                    future.set_result(event)
        self.committing_count = 0
        barriers, self._committing_barriers = self._committing_barriers, []
        for barrier in barriers:
            if not barrier.done():
                barrier.set_result(None)

    def keep(self, room: int) -> None:
        """Take back the first of the events that were refused, with what is to be written along with them."""
        self._writings = [pending for pending in self._committing_writings if pending[0].place < room]

    def drop(self) -> None:
        """Forget everything; who waits is left waiting, to be cancelled with its task."""
        self.events, self.consumed, self.has_outcome = [], (), False
        self.awaits, self.undo = (), 0
        self._writings, self._places = [], []


def _moved(writings: Sequence[_Pending], by: int) -> list[_Pending]:
    return [(msgspec.structs.replace(writing, place=writing.place + by), future) for writing, future in writings]
