"""How often a connection may speak: who speaks more is read later, and not closed."""

from collections.abc import Callable
from typing import Final

_MESSAGES_PER_S: Final = 1_000
_MESSAGES_BURST: Final = 2_000


class Pace:
    """Counts the messages of one connection."""

    def __init__(self, boot_ms: Callable[[], int]) -> None:
        self._boot_ms = boot_ms
        self._tokens = float(_MESSAGES_BURST)
        self._refilled_boot_ms = boot_ms()

    def pause_s(self) -> float:
        """Count a message; return how long to wait before the next is read."""
        now = self._boot_ms()
        refill = (now - self._refilled_boot_ms) * _MESSAGES_PER_S / 1000
        self._refilled_boot_ms = now
        self._tokens = min(float(_MESSAGES_BURST), self._tokens + refill) - 1
        return max(0.0, -self._tokens / _MESSAGES_PER_S)
