"""The audit log: who did what to whom, from where, and what came of it. Written before the answer is given."""

from typing import Final

import uuid_utils

from stepwell.engine.access_calls import KeyBook
from stepwell.store.access import AuditRow

_DAY_MS: Final = 86_400_000
_TEXT_LENGTH_MAX: Final = 500


class Audit:
    """Writes the audit log.

    Args:
        book: Where it is; None where there is none.
        days: How long it is kept.
    """

    def __init__(self, book: KeyBook | None, *, days: int) -> None:
        self._book = book
        self._days = days

    async def note(self, who: str, action: str, target: str = "", *, address: str = "", result: str = "done") -> None:
        """Append an entry; it is recorded on return."""
        if self._book is None:
            return
        now_ms = self._book.now_ms()
        row = AuditRow(str(uuid_utils.uuid7()), now_ms, who, action, target[:_TEXT_LENGTH_MAX], address, result)
        await self._book.note([row], now_ms - self._days * _DAY_MS)
