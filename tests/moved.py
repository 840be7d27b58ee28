"""A clock that a test moves."""

import asyncio
from collections.abc import Callable

from stepwell.clock import Alarm, Clock


class MovedClock(Clock):
    """Wall time stands still until it is moved. Boot time, on which leases in a file rest, is the machine's.

    Args:
        is_set: Whether it is the store's clock too, where the store has one of its own.
    """

    def __init__(self, *, is_set: bool = False) -> None:
        self.is_set = is_set
        self._now_ms = super().now_ms()
        self._alarms: list[_Alarm] = []

    def now_ms(self) -> int:
        return self._now_ms

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        alarm = _Alarm(self._alarms, when_ms, callback)
        if when_ms <= self._now_ms:
            # As the machine's clock does: soon, and not from within.
            alarm.ring_soon()
        else:
            self._alarms.append(alarm)
        return alarm

    def forget(self) -> None:
        """Forget who wanted to be called: they are dead."""
        self._alarms.clear()

    def leap(self, ms: int) -> None:
        """Move time without a ring: nobody has noticed yet."""
        self._now_ms += ms

    def advance(self, ms: int) -> None:
        """Move time, and ring what is due by then."""
        self._now_ms += ms
        due = [alarm for alarm in self._alarms if alarm.when_ms <= self._now_ms]
        self._alarms[:] = [alarm for alarm in self._alarms if alarm.when_ms > self._now_ms]
        for alarm in sorted(due, key=lambda alarm: alarm.when_ms):
            alarm.ring_soon()


class _Alarm:
    def __init__(self, alarms: "list[_Alarm]", when_ms: int, callback: Callable[[], None]) -> None:
        self.when_ms = when_ms
        self._alarms = alarms
        self._callback = callback
        self._handle: asyncio.Handle | None = None

    def ring_soon(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(0, self._callback)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        elif self in self._alarms:
            self._alarms.remove(self)
