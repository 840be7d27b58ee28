"""What clients can ask of collections, wherever the engine runs: a part of ``Engine``.

Filters, orders and fields pass as the texts that users write; whoever answers parses them.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import msgspec

from stepwell.model import CollectionSettings, Page, RecordChange, RecordPage
from stepwell.progress import WriteRecords


class RecordsAsked(msgspec.Struct, kw_only=True, frozen=True):
    """Which records, in which order, and which of their fields."""

    collection: str
    filter: str | None = None
    sort: str | None = None
    fields: str | None = None


class Records(Protocol):
    """Every call may raise ``UnavailableError``, and ``ValidationError`` for a filter, an order or fields that are none."""

    async def get(self, collection: str, id: str, fields: str | None) -> dict[str, Any]:
        """Return one record.

        Raises:
            NotFoundError: There is none.
        """
        ...

    async def page(self, asked: RecordsAsked, page: int, per_page: int, *, skip_total: bool) -> RecordPage: ...

    async def walk(self, asked: RecordsAsked, limit: int, cursor: str | None) -> Page[dict[str, Any]]:
        """Return the records behind a cursor: all of them, page by page, however many there are."""
        ...

    async def count(self, asked: RecordsAsked) -> int: ...

    async def write(self, request: WriteRecords) -> list[dict[str, Any] | None]:
        """Write all of it, or nothing; return the records, None for those that were deleted.

        Raises:
            NotFoundError: A record is not there. ConflictError: it is, or is not as ``if_match`` says, or a value must be unique.
            PayloadTooLargeError: A record, or all of it, would be too long.
        """
        ...

    def changes(
        self, asked: RecordsAsked, after: int | None, passed: Callable[[int], None] | None = None
    ) -> AsyncIterator[RecordChange]:
        """Yield what becomes of the records that a filter fits, from place ``after`` on (None: from now on).

        ``passed`` is told up to where everything was looked at, and was told of if it fits.

        Raises:
            ConflictError: What came behind ``after`` is forgotten already, or has never been.
        """
        ...

    async def place(self, collection: str, after: int | None = None) -> int:
        """Return where a collection stands: what ``changes`` begins behind. With ``after``, make sure that it can begin there.

        Raises:
            ConflictError: What came behind ``after`` is forgotten already, or has never been.
        """
        ...

    async def configure(self, collection: str, indexes: Any, schema: Any) -> CollectionSettings:
        """Settle indexes and schema, as users declare them; what is None stays. Returns when the indexes are ready.

        Raises:
            ValidationError: They are none.
            ConflictError: Records have the same value where it must be unique. That index is not made.
        """
        ...

    async def settings_of(self, collection: str) -> CollectionSettings:
        """Return what is settled.

        Raises:
            NotFoundError: There is no such collection.
        """
        ...

    async def collections(self) -> list[CollectionSettings]: ...
