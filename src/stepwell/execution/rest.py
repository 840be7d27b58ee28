"""Durable waits, and what happens when all branches of a run wait: it rests, is shown to wait, and is evicted if it takes long.

The rules are here; the run that they are about is seen through ``Resting``.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from stepwell.clock import Alarm
from stepwell.model import WaitKind
from stepwell.progress import NewEvent, Waiting

_encode: Final = msgspec.json.Encoder().encode


class Resting(Protocol):
    """A run, as its waits see it."""

    waits: "dict[asyncio.Task[Any], Wait]"
    keep_ms: int
    shown_ms: int

    def time(self) -> int:
        """Return the store's time, never before the last in this run."""
        ...

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm: ...

    def wake(self, then: Callable[[], None]) -> None:
        """Call ``then`` when the run may go on."""
        ...

    def time_out(self, wait: "Wait") -> None:
        """Record that the wait's time is over, and tell it by ``settle_timeout``."""
        ...

    def all_wait(self) -> bool:
        """Whether no task of the run can go on by itself."""
        ...

    def look(self) -> None:
        """Look soon whether the whole run rests."""
        ...

    def ends_here(self) -> bool:
        """Tell whether the run, all of which waits, is to go no further: then its end begins."""
        ...

    def rests(self) -> bool:
        """The run gives up its room. Returns whether there is memory to keep it."""
        ...

    def offer(self) -> None: ...


class Wait:
    """One branch that waits for something durable."""

    __slots__ = (
        "_alarm", "_run", "answer", "due_ms", "future", "is_open", "is_timing_out", "kind", "name", "timed_out_ms",
        "timeout_id", "timeout_type",
    )  # fmt: skip

    def __init__(
        self, run: Resting, kind: WaitKind, name: str = "", *, due_ms: int | None = None, timeout_id: str = "",
        timeout_type: str = "signal_timed_out", answer: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Without ``timeout_id`` the wait is over when it is due. With it, being due is a time-out to be recorded under this
        identity, which a message that was stored first still beats. ``answer`` is the kind and name of the message that ends
        it."""
        self.answer = answer
        self.timeout_type = timeout_type
        self.kind: WaitKind = kind
        self.name = name
        self.due_ms = due_ms
        self.timeout_id = timeout_id
        self.is_open = True
        self.is_timing_out = False
        self.timed_out_ms = 0
        """When its time-out was recorded."""
        self._run = run
        self.future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._alarm: Alarm | None = None

    async def over(self) -> bool:
        """Wait. True: woken, or slept enough; False: timed out, as is recorded by now."""
        task = asyncio.current_task()
        assert task is not None
        self._run.waits[task] = self
        if self.due_ms is not None:
            self._alarm = self._run.call_at(self.due_ms, self._due)
        self._run.look()
        try:
            return await self.future
        finally:
            self.stop()
            if self._run.waits.get(task) is self:
                del self._run.waits[task]

    def _due(self) -> None:
        self._run.wake(self._ripe)

    def _ripe(self) -> None:
        if not self.is_open:
            return
        if self.timeout_id:
            self._run.time_out(self)
        else:
            self.end(woken=True)

    def end(self, *, woken: bool) -> None:
        """Let the branch go on."""
        if self.is_open:
            self.stop()
            if not self.future.done():
                self.future.set_result(woken)

    def stop(self) -> None:
        """The wait is over, or its branch is."""
        self.is_open = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


class Rest:
    """Notices that a run rests, and decides what becomes of it."""

    __slots__ = (
        "_alarms", "_evicts", "_is_looking", "_run", "_shows", "_text", "is_resting",
    )  # fmt: skip

    def __init__(self, run: Resting) -> None:
        self._run = run
        self.is_resting = False
        self._is_looking = False
        self._evicts = False
        self._shows = False
        self._text = ""
        self._alarms: list[Alarm] = []

    def look(self) -> None:
        """Look, after everything that is ready now has had its turn, whether the whole run waits."""
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._is_looking = False
        if not self.is_resting and self._run.waits and self._run.all_wait() and not self._run.ends_here():
            self._begin()

    def _begin(self) -> None:
        self.is_resting = True
        may_keep = self._run.rests()
        now, due = self._run.time(), self._due_ms()
        if not may_keep or (due is not None and due - now > self._run.keep_ms):
            self._evict()
            return
        self._alarms = [
            self._run.call_at(now + self._run.shown_ms, self._show),
            self._run.call_at(now + self._run.keep_ms, self._evict_if_long),
        ]

    def end(self) -> None:
        """The run goes on."""
        self.is_resting = self._evicts = self._shows = False
        self._text = ""
        self.stop()

    def stop(self) -> None:
        """No more decisions."""
        for alarm in self._alarms:
            alarm.cancel()
        self._alarms = []

    def _evict(self) -> None:
        self._evicts = True
        self._run.offer()

    def _evict_if_long(self) -> None:
        due = self._due_ms()
        if due is not None and due - self._run.time() <= self._run.keep_ms:
            return
        self._evict()

    def _show(self) -> None:
        self._shows = True
        self._run.offer()

    def suspension(self) -> Waiting | None:
        """What to write to let go of the run, or None if that is not to be."""
        if self._evicts and not self._run.all_wait():
            self.end()  # something that is not durable, a time-out of asyncio's say, has let a branch go on
        return Waiting(describe_waits(self._run.waits.values()), self._due_ms()) if self._evicts else None

    @property
    def has_news(self) -> bool:
        """Whether there is something to write."""
        return self._evicts or self._shows

    def to_show(self) -> Waiting | None:
        """What to write so that the run is seen to wait, or None if there is nothing new."""
        if not self._shows:
            return None
        self._shows = False
        text = describe_waits(self._run.waits.values())
        if text == self._text:
            return None
        self._text = text
        return Waiting(text, self._due_ms())

    def refused(self) -> None:
        """The run could not be let go of: a message has come."""
        self._evicts = False

    def _due_ms(self) -> int | None:
        return min((wait.due_ms for wait in self._run.waits.values() if wait.is_open and wait.due_ms is not None), default=None)


def describe_waits(waits: Iterable[Wait]) -> str:
    """Return the text of ``runs.waiting_for``: the earliest due where branches wait on several things, and how many others."""
    opened = [wait for wait in waits if wait.is_open]
    if not opened:
        return waiting_text("sleep", "", None, 0)
    first = min(opened, key=lambda wait: (wait.due_ms is None, wait.due_ms or 0))
    return waiting_text(first.kind, first.name, first.due_ms, len(opened) - 1)


def waiting_text(kind: WaitKind, name: str, until_ms: int | None, others: int) -> str:
    """Return the JSON for ``runs.waiting_for``; times are ms since 1970 UTC."""
    return _encode({"kind": kind, "name": name, "until": until_ms, "others": others}).decode()


def timeout_event(wait: Wait, at_ms: int) -> NewEvent:
    """Return the event that records that a wait has timed out."""
    return NewEvent(wait.timeout_type, wait.timeout_id, wait.name, "{}", at_ms)
