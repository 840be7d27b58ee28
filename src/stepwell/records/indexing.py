"""Indexes of collections: keys whose order as texts is the order of values, and which index helps a query.

An index is rows of ``(key, record id)``, kept by the store with each write. The same keys serve every database, and nothing
about them is decided by one: a key sorts by code point as the values sort by ``evaluation.sort_value``.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from stepwell.errors import ValidationError
from stepwell.records import evaluation
from stepwell.records.evaluation import find, sort_value
from stepwell.records.expressions import Comparison, Every, Expression, Moment, Path
from stepwell.records.sorting import SortTerm

KEY_BYTES_MAX: Final = 2_000
"""Of one key: every database takes so much."""

_END: Final = "\x01"
_AFTER: Final = "\x02"
"""What sorts behind everything that begins with a key up to its ``_END``, and before everything else that is greater."""

_ESCAPES: Final = str.maketrans({"\x01": "\x02\x01", "\x02": "\x02\x02"})
_CONTAINERS: Final = (evaluation.RANK_LIST, evaluation.RANK_OBJECT)


class Index(Struct, frozen=True, omit_defaults=True):
    """An index of a collection, as it is stored. ``number`` names its keys; until ``is_ready`` old records lack theirs."""

    fields: tuple[str, ...]
    number: int
    unique: bool = False
    is_ready: bool = False

    @property
    def name(self) -> str:
        """What people call it."""
        return ",".join(self.fields)

    @property
    def paths(self) -> list[Path]:
        """Its fields as paths."""
        return [tuple(field.split(".")) for field in self.fields]


class Lookup(Struct, frozen=True):
    """How an index is used: the keys from ``low`` (included) to ``high`` (not), and whether they are in the order asked for."""

    index: Index
    low: str
    high: str
    is_ordered: bool
    descending: bool = False


def key_of(index: Index, record: Any) -> str:
    """Return a record's key.

    Raises:
        ValidationError: It is too long. ``field`` is the index's first.
    """
    key = "".join(_part(find(record, path)) for path in index.paths)
    if len(key) > KEY_BYTES_MAX // 4 and len(key.encode()) > KEY_BYTES_MAX:
        raise ValidationError(
            f"{index.name}: more than {KEY_BYTES_MAX:,} bytes, which is too long for its index", field=index.fields[0]
        )
    return key


def is_held_unique(index: Index, record: Any) -> bool:
    """Tell whether a unique index allows no second record with the same key: not for values that are missing, null, lists or
    objects."""
    ranks = [sort_value(find(record, path))[0] for path in index.paths]
    return evaluation.RANK_NULL not in ranks and not any(rank in _CONTAINERS for rank in ranks)


def _part(value: Any) -> str:
    rank, content = sort_value(value)
    if rank == evaluation.RANK_NUMBER:
        return f"{rank}{_number(content)}{_END}"
    if rank == evaluation.RANK_TEXT:
        return f"{rank}{str(content).translate(_ESCAPES)}{_END}"
    return f"{rank}{_END}"


def _number(value: Any) -> str:
    """Return 20 hex digits: the nearest float, whose bits are turned so that they sort, and what a whole number is beyond it."""
    nearest = float(value) + 0.0  # which makes 0.0 of -0.0
    rest = value - int(nearest) if isinstance(value, int) else 0
    (bits,) = struct.unpack(">Q", struct.pack(">d", nearest))
    return f"{(bits ^ (1 << 63)) if bits < 1 << 63 else (bits ^ ((1 << 64) - 1)):016x}{rest + 0x800:04x}"


def plan(where: Expression | None, sort: Sequence[SortTerm], indexes: Sequence[Index]) -> Lookup | None:
    """Return the index that narrows a query most, or puts it in order; None if none does either."""
    compared = _compared(where)
    best: Lookup | None = None
    best_worth = 0
    for index in indexes:
        if not index.is_ready:
            continue
        lookup, worth = _lookup(index, compared, sort)
        if worth > best_worth:
            best, best_worth = lookup, worth
    return best


def _compared(where: Expression | None) -> dict[Path, list[Comparison]]:
    """Return what must be true of each field, as far as an index can tell."""
    found: dict[Path, list[Comparison]] = {}
    left = [where] if where is not None else []
    while left:
        part = left.pop()
        if isinstance(part, Every):
            left += part.parts
        elif isinstance(part, Comparison) and not part.any_of and part.operator in ("=", ">", ">=", "<", "<="):
            found.setdefault(part.path, []).append(part)
    return found


def _lookup(index: Index, compared: dict[Path, list[Comparison]], sort: Sequence[SortTerm]) -> tuple[Lookup, int]:
    """Return how an index would be used, and what that is worth: more for each field that is fixed, some for a range."""
    prefix, worth, fixed, paths = "", 0, 0, index.paths
    for path in paths:
        equal = next((each for each in compared.get(path, ()) if each.operator == "="), None)
        if equal is None:
            break
        prefix += _part(equal.value)
        fixed, worth = fixed + 1, worth + 4
    low, high = prefix, prefix + "9"  # every part begins with a digit, the greatest of which is 6
    if fixed < len(paths):
        for each in compared.get(paths[fixed], ()):
            from_key, to_key = _range(each)
            low, high = max(low, prefix + from_key), min(high, prefix + to_key)
            worth += 1
    # What is fixed decides no order any more.
    terms = [term for term in sort if term.path not in paths[:fixed]]
    descending = bool(terms) and terms[0].descending
    is_ordered = [(term.path, term.descending) for term in terms] == [(path, descending) for path in paths[fixed:]]
    return Lookup(index, low, high, is_ordered, descending), worth * 2 + is_ordered


def _range(comparison: Comparison) -> tuple[str, str]:
    value = comparison.value
    assert not isinstance(value, Moment), "settled before"
    key, rank = _part(value).removesuffix(_END), sort_value(value)[0]
    least, most = (str(rank), str(rank + 1)) if rank not in (1, 2) else ("1", "3")
    match comparison.operator:
        case ">":
            return key + _AFTER, most
        case ">=":
            return key + _END, most
        case "<":
            return least, key + _END
        case _:
            return least, key + _AFTER
