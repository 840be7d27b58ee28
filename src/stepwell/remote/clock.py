"""The server's time, as far as it can be told from here."""

from collections import deque
from typing import Final

from stepwell.clock import Clock

_SAMPLES: Final = 8


class ServerClock(Clock):
    """Tells the server's time from its answers and the time that they took; before the first, this machine's.

    It counts on by boot time, so that nobody can set it. It is never ahead of the server, so that nothing happens early: an
    answer was written before it arrived, and of the last answers the one that took least is believed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[int] = deque(maxlen=_SAMPLES)
        self._ahead_ms: int | None = None

    def now_ms(self) -> int:
        """Return the server's time."""
        return self._clock.now_ms() if self._ahead_ms is None else self._clock.boot_ms() + self._ahead_ms

    def boot_ms(self) -> int:
        """Return the time since this machine started."""
        return self._clock.boot_ms()

    def told(self, now_ms: int, received_boot_ms: int) -> None:
        """An answer has come that says what time it was."""
        # One less, because a boot time is rounded down.
        self._samples.append(now_ms - received_boot_ms - 1)
        self._ahead_ms = max(self._samples)
