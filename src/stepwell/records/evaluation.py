"""Which records a filter fits, and which of two comes first. The rules by which every database must decide, in plain Python.

A missing field equals null. Values of different types are never equal, and every order between them is false; so is every order
on null. Numbers are compared as numbers, whatever they are written as: 1 is 1.0, and not true. Texts are compared by code point.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeGuard, cast

from stepwell.records import patterns
from stepwell.records.expressions import Comparison, Every, Expression, Moment, Path, Some, Value, number
from stepwell.records.sorting import SortTerm

RANK_NULL: Final = 0
RANK_FALSE: Final = 1
RANK_TRUE: Final = 2
RANK_NUMBER: Final = 3
RANK_TEXT: Final = 4
RANK_LIST: Final = 5
RANK_OBJECT: Final = 6


def find(record: Any, path: Path) -> Any:
    """Return what stands at a path, None if there is nothing. A path does not lead into lists."""
    for name in path:
        if not isinstance(record, dict):
            return None
        record = cast("Mapping[str, Any]", record).get(name)
    return record


def fits(where: Expression, record: Any) -> bool:
    """Tell whether a filter without moments fits a record."""
    match where:
        case Every(parts):
            return all(fits(part, record) for part in parts)
        case Some(parts):
            return any(fits(part, record) for part in parts)
        case Comparison(path, _, _, any_of):
            found = find(record, path)
            if any_of and _is_list(found):
                return any(_holds(where, element) for element in found)
            return _holds(where, found)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _holds(comparison: Comparison, found: Any) -> bool:
    operator, value = comparison.operator, comparison.value
    assert not isinstance(value, Moment), "settled before"
    if operator in ("!=", "!~"):
        return not _is_true("=" if operator == "!=" else "~", found, value)
    return _is_true(operator, found, value)


def _is_true(operator: str, found: Any, value: Value) -> bool:
    if operator == "~":
        return isinstance(found, str) and patterns.matches(patterns.pieces(str(value)), found)
    mine, theirs = sort_value(found), sort_value(value)
    if operator == "=":
        return mine == theirs and mine[0] < RANK_LIST
    if value is None or _kind(mine[0]) != _kind(theirs[0]):
        return False
    return {">": mine > theirs, ">=": mine >= theirs, "<": mine < theirs, "<=": mine <= theirs}[operator]


def _kind(rank: int) -> int:
    return RANK_FALSE if rank == RANK_TRUE else rank


def sort_value(value: Any) -> "tuple[int, int | float | str]":
    """Return where a value stands among others: by type, and within numbers and texts by value."""
    if value is None:
        return RANK_NULL, 0
    if isinstance(value, bool):
        return (RANK_TRUE if value else RANK_FALSE), 0
    if isinstance(value, int | float):
        return RANK_NUMBER, number(value)
    if isinstance(value, str):
        return RANK_TEXT, value
    return (RANK_LIST if isinstance(value, list) else RANK_OBJECT), 0


def in_order(records: Sequence[Any], terms: Sequence[SortTerm]) -> list[Any]:
    """Return records in order; those that no term tells apart in the order of their ids."""
    ordered = sorted(records, key=lambda record: str(record["id"]))
    for term in reversed(terms):
        ordered = sorted(ordered, key=partial(_place, term.path), reverse=term.descending)
    return ordered


def _place(path: Path, record: Any) -> "tuple[int, int | float | str]":
    return sort_value(find(record, path))
