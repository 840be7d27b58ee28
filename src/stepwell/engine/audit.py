"""The audit log: who did what to whom, from where, and what came of it. Written before the answer is given."""

from collections import Counter
from typing import Final

import uuid_utils

from stepwell.engine.access_calls import KeyBook
from stepwell.store.access import AuditRow

_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000
_TEXT_LENGTH_MAX: Final = 2_000
_REFUSALS_MAX: Final = 100_000


class Audit:
    """Writes the audit log.

    Args:
        book: Where it is; None where there is none.
        days: How long it is kept.
        refusals_max: How much of what is refused is noted, of each who and address, in a minute.
    """

    def __init__(self, book: KeyBook | None, *, days: int, refusals_max: int) -> None:
        self._book = book
        self._days = days
        self._refusals_max = refusals_max
        self._minute = 0
        self._refusals: Counter[tuple[str, str]] = Counter()

    async def note(self, who: str, action: str, target: str = "", *, address: str = "", result: str = "done") -> None:
        """Append an entry; it is recorded on return."""
        if self._book is None:
            return
        now_ms = self._book.now_ms()
        row = AuditRow(str(uuid_utils.uuid7()), now_ms, who, action, target[:_TEXT_LENGTH_MAX], address, result)
        await self._book.note([row], now_ms - self._days * _DAY_MS)

    async def note_refusal(self, who: str, action: str, target: str = "", *, address: str, result: str) -> None:
        """Append an entry of what was refused or has failed, unless there were too many of those within this minute: nobody fills
        the log by asking for what is refused."""
        if self._book is None:
            return
        minute = self._book.now_ms() // _MINUTE_MS
        if minute != self._minute:
            self._minute = minute
            self._refusals.clear()
        if self._refusals[who, address] >= self._refusals_max or self._refusals.total() >= _REFUSALS_MAX:
            return
        self._refusals[who, address] += 1
        await self.note(who, action, target, address=address, result=result)
