"""Filters and orders in the words of PostgreSQL.

Numbers are compared as elsewhere: whole ones of 64 bits exactly, all others as floats. A number's text is kept as it was written,
so that the two can be told apart. Two numbers that are one as floats differ only if a whole one is among them, and that, taken
exactly, is not the other.
"""

from typing import Final

from stepwell.records.evaluation import RANK_LIST, RANK_NUMBER, RANK_TEXT
from stepwell.records.expressions import INTEGER_MAX, INTEGER_MIN, Comparison, Path
from stepwell.store.filtering import ID, Place, Text
from stepwell.store.plans import Parameter

_RANK: Final = (
    "CASE {type} WHEN 'boolean' THEN CASE {value} WHEN 'true' THEN 2 ELSE 1 END WHEN 'number' THEN 3 WHEN 'string' THEN 4"
    " WHEN 'array' THEN 5 WHEN 'object' THEN 6 ELSE 0 END"
)
_IS_WHOLE: Final = (
    f"({{value}} !~ '[.eE]' AND length({{value}}) <= 20 AND {{value}}::numeric BETWEEN {INTEGER_MIN} AND {INTEGER_MAX})"
)
_FLOAT: Final = (
    "CASE WHEN abs({value}::numeric) < 1.797693134862315709e308 THEN {value}::float8"
    " WHEN {value}::numeric > 0 THEN 'Infinity'::float8 ELSE '-Infinity'::float8 END"
)
_AS_FLOAT: Final = f"CASE WHEN {{type}} = 'number' THEN {_FLOAT} END"
# What a float is exactly: in two halves, because a cast rounds to 15 digits.
_EXACT: Final = (
    "floor(({float}) / 4294967296.0::float8)::int8::numeric * 4294967296"
    " + (({float}) - floor(({float}) / 4294967296.0::float8) * 4294967296.0::float8)::int8::numeric"
)
_BEYOND: Final = (
    f"CASE WHEN {{type}} = 'number' AND abs({{value}}::numeric) BETWEEN 9007199254740992 AND 9223372036854775808"
    f" THEN CASE WHEN {_IS_WHOLE} THEN {{value}}::numeric ELSE {_EXACT.format(float=_FLOAT)} END ELSE 0 END"
)
_AS_TEXT: Final = "CASE WHEN {type} = 'string' THEN {value} ELSE '' END COLLATE \"C\""
_ANY_OF: Final = (
    "CASE WHEN {list} = 'array' THEN EXISTS (SELECT 1 FROM json_array_elements(r.data::json #> {path}) AS e (value)"
    " WHERE {element}) ELSE {itself} END"
)


class PostgresText(Text):
    """See ``Text``."""

    true = "true"
    false = "false"

    def add(self, value: Parameter | float) -> str:
        """See ``Text.add``. What a parameter is must be said where nothing else tells."""
        self.parameters.append(value)
        kind = "float8" if isinstance(value, float) else "text" if isinstance(value, str) else "int8"
        return f"${len(self.parameters)}::{kind}"

    def place(self, path: Path) -> Place:
        """See ``Text.place``."""
        if path == ID:
            return Place("'string'", "r.id")
        name = self._path(path)
        return Place(f"json_typeof(r.data::json #> {name})", f"(r.data::json #>> {name})")

    def _path(self, path: Path) -> str:
        return f"string_to_array({self.add('.'.join(path))}, '.')"

    def any_of(self, comparison: Comparison, itself: str) -> str:
        """See ``Text.any_of``."""
        path = self._path(comparison.path)
        element = self.holds(comparison, Place("json_typeof(e.value)", "(e.value #>> '{}')"))
        return _ANY_OF.format(list=f"json_typeof(r.data::json #> {path})", path=path, element=element, itself=itself)

    def null(self, place: Place) -> str:
        """See ``Text``."""
        return f"(coalesce({place.type}, 'null') = 'null')"

    def boolean(self, place: Place, operator: str, value: bool) -> str:
        """See ``Text``."""
        return f"CASE WHEN {place.type} = 'boolean' THEN ({place.value} = 'true') {operator} {str(value).lower()} ELSE false END"

    def number(self, place: Place, operator: str, value: int | float) -> str:
        """See ``Text``."""
        nearest = float(value)
        found = _FLOAT.format(value=place.value)
        is_exact = nearest.is_integer() and abs(nearest) <= 2.0**63
        holds = f"{found} {operator} {self.add(nearest)}"
        if is_exact:
            # As floats they are one: then a whole number decides exactly, and a float is what it is.
            exactly = self.add(str(int(value)))
            whole = _IS_WHOLE.format(value=place.value)
            near = self.add(str(int(nearest)))
            tie = (
                f"CASE WHEN {whole} THEN {place.value}::numeric {operator} {exactly}::numeric"
                f" ELSE {near}::numeric {operator} {exactly}::numeric END"
            )
            holds = f"CASE WHEN {found} = {self.add(nearest)} THEN {tie} ELSE {holds} END"
        return f"CASE WHEN {place.type} = 'number' THEN {holds} ELSE false END"

    def text(self, place: Place, operator: str, value: str) -> str:
        """See ``Text``."""
        compared = f'{place.value} COLLATE "C" {operator} {self.add(value)}'
        return f"CASE WHEN {place.type} = 'string' THEN {compared} ELSE false END"

    def like(self, place: Place, pattern: str) -> str:
        """See ``Text.like``. By the collation "C" only letters of ASCII have another case."""
        lower = f'lower({self.add(pattern)} COLLATE "C")'
        compared = f"lower({place.value} COLLATE \"C\") LIKE {lower} ESCAPE '\\'"
        return f"CASE WHEN {place.type} = 'string' THEN {compared} ELSE false END"

    def columns(
        self, place: Place, seen: tuple[int, int | float | str], *, is_needed: bool
    ) -> list[tuple[str, str | None]]:  # fmt: skip
        """See ``Text.columns``."""
        rank, content = seen
        is_number, is_text = rank == RANK_NUMBER, RANK_TEXT <= rank < RANK_LIST
        nearest = beyond = text = None
        if is_needed and is_number:
            nearest = self.add(float(content))
            is_large = 2.0**53 <= abs(float(content)) <= 2.0**63
            beyond = f"{self.add(str(int(content) if is_large else 0))}::numeric"
        elif is_needed and is_text:
            text = self.add(str(content))
        words = {"type": place.type, "value": place.value}
        return [
            (f"({_RANK.format(**words)})", self.add(rank) if is_needed else None),
            (f"({_AS_FLOAT.format(**words)})", nearest),
            (f"({_BEYOND.format(**words)})", beyond),
            (f"({_AS_TEXT.format(**words)})", text),
        ]
