"""Filters and orders as SQL, as far as databases do not differ.

Every value and every path is a parameter; what stands in the text comes from tables in the code. What is true is true and what is
not is false, never NULL, so that ``!=`` is exactly the opposite of ``=``.
"""

from abc import ABC, abstractmethod
from typing import Any, Final, NamedTuple

from stepwell.records import patterns
from stepwell.records.evaluation import find, sort_value
from stepwell.records.expressions import Comparison, Every, Expression, Moment, Path, Some, Value
from stepwell.records.sorting import SortTerm
from stepwell.store.plans import Parameter

_CONNECTED: Final = {Every: " AND ", Some: " OR "}
_ORDERS: Final = {"=": "=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_LIKE: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})

ID: Final = ("id",)


class Place(NamedTuple):
    """Where a value of a record stands: expressions for the name of its type, and for itself."""

    type: str
    value: str


class Text(ABC):
    """Writes conditions and orders of one statement, and gathers its parameters.

    Records are the rows ``r``, keys the rows ``k``.
    """

    true: str
    """A condition that holds."""
    false: str

    def __init__(self, *parameters: Parameter) -> None:
        self.parameters: list[Parameter | float] = [*parameters]

    def where(self, where: Expression | None) -> str:
        """Return the condition that a filter fits."""
        if where is None:
            return self.true
        if isinstance(where, Comparison):
            return self._compared(where)
        return f"({_CONNECTED[type(where)].join(self.where(part) for part in where.parts)})"

    def _compared(self, comparison: Comparison) -> str:
        if comparison.value is None and comparison.operator not in ("=", "!="):
            return self.false  # without a parameter that nothing uses, of which no database could tell the type
        itself = self.holds(comparison, self.place(comparison.path))
        return self.any_of(comparison, itself) if comparison.any_of and comparison.path != ID else itself

    def holds(self, comparison: Comparison, place: Place) -> str:
        """Return the condition that a comparison is true of what stands at a place."""
        value = comparison.value
        assert not isinstance(value, Moment), "settled before"
        match comparison.operator:
            case "!=":
                return f"NOT {self._ordered('=', value, place)}"
            case "~":
                return self.like(place, _pattern(value))
            case "!~":
                return f"NOT {self.like(place, _pattern(value))}"
            case operator:
                return self._ordered(_ORDERS[operator], value, place)

    def _ordered(self, operator: str, value: Value, place: Place) -> str:
        if value is None:
            return self.null(place)
        if isinstance(value, bool):
            return self.boolean(place, operator, value)
        if isinstance(value, str):
            return self.text(place, operator, value)
        return self.number(place, operator, value)

    def order(self, terms: tuple[SortTerm, ...], behind: Any) -> tuple[str, str]:
        """Return what to sort by, and the condition that a record comes later than ``behind``, if that is given."""
        columns: list[str] = []
        steps: list[tuple[str, str, str]] = []
        for term in needed(terms):
            direction, after = (" DESC", "<") if term.descending else ("", ">")
            seen = sort_value(find(behind, term.path))
            for column, last in self.columns(self.place(term.path), seen, is_needed=behind is not None):
                columns.append(column + direction)
                if last is not None:
                    steps.append((column, after, last))
        columns.append("r.id")
        if behind is None:
            return ", ".join(columns), self.true
        steps.append(("r.id", ">", self.add(str(find(behind, ID)))))
        return ", ".join(columns), _later(steps)

    def by_key(self, behind: tuple[str, str] | None, *, descending: bool) -> tuple[str, str]:
        """Return the same for an index: ``behind`` is the key and the id of the last record seen."""
        order = "k.key DESC, k.id" if descending else "k.key, k.id"
        if behind is None:
            return order, self.true
        key, last = self.add(behind[0]), self.add(behind[1])
        if descending:
            return order, f"k.key <= {key} AND (k.key < {key} OR k.id > {last})"
        return order, f"(k.key, k.id) > ({key}, {last})"

    # -- how a database says it

    @abstractmethod
    def add(self, value: Parameter | float) -> str:
        """Add a parameter; return how the text names it."""

    @abstractmethod
    def place(self, path: Path) -> Place: ...

    @abstractmethod
    def any_of(self, comparison: Comparison, itself: str) -> str:
        """Return the condition that a comparison is true of an element of the list, or, if it is none, ``itself``."""

    @abstractmethod
    def null(self, place: Place) -> str: ...

    @abstractmethod
    def boolean(self, place: Place, operator: str, value: bool) -> str: ...

    @abstractmethod
    def number(self, place: Place, operator: str, value: int | float) -> str: ...

    @abstractmethod
    def text(self, place: Place, operator: str, value: str) -> str: ...

    @abstractmethod
    def like(self, place: Place, pattern: str) -> str:
        """Return the condition that a text is like a pattern; letters of ASCII match in either case."""

    @abstractmethod
    def columns(
        self, place: Place, seen: tuple[int, int | float | str], *, is_needed: bool
    ) -> list[tuple[str, str | None]]:  # fmt: skip
        """Return what to sort by, in order, and what that is for the value last ``seen``, unless it is the same for all of its
        type."""


def needed(terms: tuple[SortTerm, ...]) -> tuple[SortTerm, ...]:
    """Leave out what comes behind an id, which no two records share, and the id where it is the last anyway."""
    for place, term in enumerate(terms):
        if term.path == ID:
            return terms[: place + 1] if term.descending else terms[:place]
    return terms


def _pattern(value: Value) -> str:
    return "%".join(piece.translate(_LIKE) for piece in patterns.pieces(str(value)))


def _later(steps: list[tuple[str, str, str]]) -> str:
    alternatives: list[str] = []
    equal = ""
    for column, after, last in steps:
        alternatives.append(f"({equal}{column} {after} {last})")
        equal += f"{column} = {last} AND "
    return f"({' OR '.join(alternatives)})"
