"""Time. Nothing else in stepwell asks the machine for it.

Wall time is an int of milliseconds since 1970 UTC. Boot time is an int of milliseconds that no one can set, counts while the
machine sleeps, and means something only together with ``boot_id()``.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC) if hasattr(time, "CLOCK_MONOTONIC") else None
_LONGEST_TIMER_S = 3600.0


class Alarm(Protocol):
    """A call that was asked for and can be called off."""

    def cancel(self) -> None: ...


class Clock:
    """The machine's clock."""

    is_set = False
    """True for a clock that a test sets: then it is the store's too, whatever time the database keeps."""

    def now_ms(self) -> int:
        """Return the wall time."""
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        """Return the time since the machine started, sleep included."""
        return int((time.clock_gettime(_BOOT_CLOCK) if _BOOT_CLOCK is not None else time.monotonic()) * 1000)

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        """Call back on the running loop once the wall time is ``when_ms`` or later; never before, also if the clock jumps."""
        return _WallAlarm(self, when_ms, callback)


class _WallAlarm:
    __slots__ = ("_callback", "_clock", "_handle", "_when_ms")

    def __init__(self, clock: Clock, when_ms: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._when_ms = when_ms
        self._callback = callback
        self._arm()

    def _arm(self) -> None:
        left_s = max(0.0, (self._when_ms - self._clock.now_ms()) / 1000)
        self._handle = asyncio.get_running_loop().call_later(min(left_s, _LONGEST_TIMER_S), self._ring)

    def _ring(self) -> None:
        # The loop's timers follow a clock of their own: look again before believing that the time has come.
        if self._clock.now_ms() >= self._when_ms:
            self._callback()
        else:
            self._arm()

    def cancel(self) -> None:
        self._handle.cancel()


@functools.cache
def boot_id() -> str:
    """Return what tells one start of this machine from another, or "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
