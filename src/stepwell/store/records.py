"""What batches do to collections, and what is asked of them: the words of a store, without a database."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from stepwell.errors import StepwellError
from stepwell.progress import WriteRecords
from stepwell.records.expressions import Expression
from stepwell.records.sorting import SortTerm


class CollectionRow(NamedTuple):
    """One row of ``collections``, in the order of its columns. ``seq`` counts the commits that wrote to it."""

    name: str
    settled: str
    """JSON: see ``records.collections.Settled``."""
    seq: int
    created_at: int
    updated_at: int


class Written(NamedTuple):
    """What became of writes: the records as they are now, None for one that was deleted; or why none of them was done."""

    records: list[str | None]
    error: StepwellError | None = None


class Configure(msgspec.Struct, kw_only=True):
    """Settle the indexes or the schema of a collection; what is None stays. A schema of ``"null"`` is taken away.

    Outcome: ``Configured``. An index that is new is not used until ``BuildIndex`` has gone through all records.
    """

    name: str
    indexes: Sequence[tuple[tuple[str, ...], bool]] | None
    schema: str | None
    at_ms: int


class Configured(NamedTuple):
    """The collection as it is now; the numbers of indexes that are to be made, and of those whose keys are to be dropped."""

    row: CollectionRow
    making: list[int]
    dropped: list[int]


class BuildIndex(msgspec.Struct, kw_only=True):
    """Enter some records into an index, those behind the id ``after``. Outcome: ``Built``."""

    collection: str
    number: int
    after: str
    limit: int


class Built(NamedTuple):
    """The last record that was entered, None if there are no more and the index is ready; or what is in its way."""

    last: str | None
    error: StepwellError | None = None


class DropKeys(msgspec.Struct, kw_only=True):
    """Drop some keys of an index that is no more. Outcome: ``int``, how many."""

    collection: str
    number: int
    limit: int


class RecordQuery(msgspec.Struct, kw_only=True):
    """Which records to list. Where ``sort`` tells none apart they stand in the order of their ids."""

    collection: str
    where: Expression | None = None
    """Without moments."""
    sort: tuple[SortTerm, ...] = ()
    behind: Any = None
    """The last record seen: list those behind it."""
    offset: int = 0
    limit: int = 0
    bytes_max: int = 8 * 1024 * 1024
    """With more than that the list ends early."""
    with_total: bool = False


class RecordRows(NamedTuple):
    """Records, as texts; how many there are in all, if that was asked; and whether the list ended early."""

    texts: list[str]
    total: int | None
    is_cut: bool


class ChangeRow(NamedTuple):
    """One row of ``record_changes``: JSON ``[[action, id, record or null], ...]``; the record only where it was deleted."""

    seq: int
    changes: str


class Changes(NamedTuple):
    """What was written to a collection behind a place, in order, and those of its records that are still there, by id.

    ``seq`` is where the collection stands. ``is_gap``: some of what was asked for is forgotten already.
    """

    rows: list[ChangeRow]
    records: dict[str, str]
    seq: int
    is_gap: bool


def changed_in(rows: Sequence[ChangeRow]) -> list[str]:
    """Return the ids of the records that were created or updated, each once."""
    written = [change for row in rows for change in _decode_changes(row.changes)]
    return list(dict.fromkeys(record_id for action, record_id, _ in written if action != "delete"))


_decode_changes: Final = msgspec.json.Decoder(list[tuple[str, str, msgspec.Raw]]).decode

RecordOperation: TypeAlias = WriteRecords | Configure | BuildIndex | DropKeys
RecordResult: TypeAlias = Written | Configured | Built


class RecordReads(Protocol):
    """What a store is asked of collections."""

    async def find_record(self, collection: str, id: str) -> str | None: ...

    async def list_records(self, query: RecordQuery) -> RecordRows:
        """List records, count them, or both.

        Raises:
            ValidationError: It took longer than ``query_ms_max``. ``field`` is ``filter``.
        """
        ...

    async def record_changes(self, collection: str, after: int | None, limit: int) -> Changes:
        """What was written behind a place; with None only where the collection stands."""
        ...

    async def find_collection(self, name: str) -> CollectionRow | None: ...

    async def collections(self) -> list[CollectionRow]: ...
