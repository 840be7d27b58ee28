"""Filters and orders in the words of SQLite."""

from typing import Final

from stepwell.records.evaluation import RANK_LIST, RANK_NUMBER
from stepwell.records.expressions import Comparison, Path
from stepwell.store.filtering import ID, Place, Text
from stepwell.store.plans import Parameter

_NUMBERS: Final = "('integer', 'real')"
_RANK: Final = (
    "CASE coalesce({type}, 'null') WHEN 'null' THEN 0 WHEN 'false' THEN 1 WHEN 'true' THEN 2 WHEN 'integer' THEN 3 WHEN 'real'"
    " THEN 3 WHEN 'text' THEN 4 WHEN 'array' THEN 5 ELSE 6 END"
)
_CONTENT: Final = "CASE WHEN {type} IN ('integer', 'real', 'text') THEN {value} END"
_ANY_OF: Final = (
    "CASE json_type(r.data, {path}) WHEN 'array' THEN EXISTS (SELECT 1 FROM json_each(r.data, {path}) AS e WHERE {element})"
    " ELSE {itself} END"
)


class SqliteText(Text):
    """See ``Text``."""

    true = "1"
    false = "0"

    def add(self, value: Parameter | float) -> str:
        """See ``Text.add``."""
        self.parameters.append(value)
        return f"?{len(self.parameters)}"

    def place(self, path: Path) -> Place:
        """See ``Text.place``."""
        if path == ID:
            return Place("'text'", "r.id")
        name = self._path(path)
        return Place(f"json_type(r.data, {name})", f"json_extract(r.data, {name})")

    def _path(self, path: Path) -> str:
        return self.add("$." + ".".join(path))

    def any_of(self, comparison: Comparison, itself: str) -> str:
        """See ``Text.any_of``."""
        element = self.holds(comparison, Place("e.type", "e.atom"))
        return _ANY_OF.format(path=self._path(comparison.path), element=element, itself=itself)

    def null(self, place: Place) -> str:
        """See ``Text``."""
        return f"(coalesce({place.type}, 'null') = 'null')"

    def boolean(self, place: Place, operator: str, value: bool) -> str:
        """See ``Text``."""
        known = f"coalesce({place.type}, 'null') IN ('true', 'false')"
        return f"({known} AND coalesce({place.type} = 'true', 0) {operator} {int(value)})"

    def number(self, place: Place, operator: str, value: int | float) -> str:
        """See ``Text``."""
        return f"coalesce({place.type} IN {_NUMBERS} AND {place.value} {operator} {self.add(value)}, 0)"

    def text(self, place: Place, operator: str, value: str) -> str:
        """See ``Text``."""
        return f"coalesce({place.type} = 'text' AND {place.value} {operator} {self.add(value)}, 0)"

    def like(self, place: Place, pattern: str) -> str:
        """See ``Text.like``."""
        return f"coalesce({place.type} = 'text' AND {place.value} LIKE {self.add(pattern)} ESCAPE '\\', 0)"

    def columns(
        self, place: Place, seen: tuple[int, int | float | str], *, is_needed: bool
    ) -> list[tuple[str, str | None]]:  # fmt: skip
        """See ``Text.columns``."""
        rank, content = seen
        has_content = is_needed and RANK_NUMBER <= rank < RANK_LIST
        return [
            (_RANK.format(type=place.type), self.add(rank) if is_needed else None),
            (_CONTENT.format(type=place.type, value=place.value), self.add(content) if has_content else None),
        ]
