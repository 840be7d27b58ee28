"""When something is due in the store: runs that sleep, delayed starts, deadlines.

They wait in the store; here is only when to look.
"""

import heapq
from collections.abc import Callable

from stepwell.clock import Alarm, Clock
from stepwell.store.base import Store


class StoreAlarm:
    """A call at a time of the store's clock; never before, whatever becomes of this machine's, or is learned of the store's."""

    __slots__ = ("_alarm", "_callback", "_clock", "_store", "_when_ms")

    def __init__(self, store: Store, clock: Clock, when_ms: int, callback: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._when_ms = when_ms
        self._callback = callback
        self._arm()

    def _arm(self) -> None:
        self._alarm = self._clock.call_at(self._store.local_ms(self._when_ms), self._ring)

    def _ring(self) -> None:
        if self._store.now_ms() >= self._when_ms:
            self._callback()
        else:
            self._arm()

    def cancel(self) -> None:
        self._alarm.cancel()


class Timers:
    """The times at which the store holds something for this node to do, earliest first."""

    def __init__(
        self, call_at: Callable[[int, Callable[[], None]], Alarm], now_ms: Callable[[], int], ring: Callable[[], None]
    ) -> None:
        self._call_at = call_at
        self._now_ms = now_ms
        self._ring = ring
        self._due: list[int] = []
        self._alarm: Alarm | None = None
        self._armed_ms: int | None = None

    def at(self, due_ms: int | None) -> None:
        """Look at this time."""
        if due_ms is None:
            return
        if due_ms != self._armed_ms:
            heapq.heappush(self._due, due_ms)
        self._arm()

    def _arm(self) -> None:
        first = self._due[0] if self._due else None
        if first == self._armed_ms or first is None or (self._armed_ms is not None and first > self._armed_ms):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._armed_ms = first
        self._alarm = self._call_at(first, self._rung)

    def _rung(self) -> None:
        self._alarm = self._armed_ms = None
        now = self._now_ms()
        while self._due and self._due[0] <= now:
            heapq.heappop(self._due)
        self._ring()
        self._arm()

    def stop(self) -> None:
        """No more."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._armed_ms = None
        self._due.clear()
