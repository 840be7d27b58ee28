"""How many runs there are of each status, for show: counted each time while there are few, else as they were a moment ago.

To count is to look at every run. A monitor asks each server every few seconds, and must not cost more the longer runs are kept.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

FEW: Final = 100_000
"""So many are always counted: that takes some hundredths of a second at most."""
_SHARE: Final = 100
"""Counting takes a hundredth of the time, however many there are."""
_OLD_MS: Final = 60_000


class RunCounts:
    """Runs by index of their status.

    Once there are more than ``FEW``, who asks is told what was counted last, at once. If that was so long ago that counting has
    rested a hundred times as long as it took, they are counted again behind that, for whoever asks next; who comes a minute later
    still waits for it.

    Args:
        count: Asks the store.
        boot_ms: A clock that nobody sets.
        behind: Does something that nobody waits for.
    """

    def __init__(
        self,
        count: Callable[[], Awaitable[dict[int, int]]],
        boot_ms: Callable[[], int],
        behind: Callable[[Coroutine[Any, Any, object]], None],
    ) -> None:
        self._ask = count
        self._boot_ms = boot_ms
        self._behind = behind
        self._counted: dict[int, int] = {}
        self._at_ms = 0
        self._rest_ms: int | None = None
        """None while they are few, or not counted yet."""
        self._is_counting = False

    async def get(self) -> dict[int, int]:
        """Return how many there are."""
        age_ms = self._boot_ms() - self._at_ms
        if self._rest_ms is None or age_ms >= self._rest_ms + _OLD_MS:
            await self._count()
        elif age_ms >= self._rest_ms and not self._is_counting:
            self._is_counting = True
            self._behind(self._count())
        return self._counted

    async def _count(self) -> None:
        began_ms = self._boot_ms()
        try:
            self._counted = await self._ask()
        finally:
            self._is_counting = False
        self._at_ms = self._boot_ms()
        self._rest_ms = _SHARE * (self._at_ms - began_ms) if sum(self._counted.values()) > FEW else None
