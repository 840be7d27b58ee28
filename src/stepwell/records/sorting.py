"""In which order records are listed, and which of their fields are shown."""

from typing import Any, Final, cast

from msgspec import Struct

from stepwell.errors import ValidationError
from stepwell.records.expressions import Path
from stepwell.records.paths import check_path

TERMS_MAX: Final = 8
FIELDS_MAX: Final = 64


class SortTerm(Struct, frozen=True):
    """A field to sort by."""

    path: Path
    descending: bool = False


def parse_sort(text: str | None) -> tuple[SortTerm, ...]:
    """Return the terms of ``-created,name``: newest first, those of one time by name.

    Raises:
        ValidationError: It is none. ``field`` is ``sort``.
    """
    if not text:
        return ()
    terms: list[SortTerm] = []
    for part in _split(text, "sort", TERMS_MAX):
        name = part[1:] if part[:1] in ("-", "+") else part
        term = SortTerm(check_path(name, "sort"), part.startswith("-"))
        if any(term.path == other.path for other in terms):
            raise ValidationError(f"sort: {name!r:.80} is there twice", field="sort")
        terms.append(term)
    return tuple(terms)


def parse_fields(text: str | None) -> tuple[Path, ...]:
    """Return the paths of ``id,name,address.city``.

    Raises:
        ValidationError: It is none. ``field`` is ``fields``.
    """
    return tuple(check_path(part, "fields") for part in _split(text, "fields", FIELDS_MAX)) if text else ()


def _split(text: object, field: str, most: int) -> list[str]:
    if not isinstance(text, str):
        raise ValidationError(f"{field} must be a text of names with commas between, not {text!r:.80}", field=field)
    parts = [part.strip() for part in text.split(",", most)]
    if len(parts) > most:
        raise ValidationError(f"{field} names more than {most} fields", field=field)
    return parts


def chosen(record: dict[str, Any], paths: tuple[Path, ...]) -> dict[str, Any]:
    """Return a record with these fields alone, as far as it has them."""
    shown: dict[str, Any] = {}
    for path in paths:
        _choose(record, path, shown)
    return shown


def _choose(record: dict[str, Any], path: Path, shown: dict[str, Any]) -> None:
    name, rest = path[0], path[1:]
    if name not in record:
        return
    inner = record[name]
    if not rest:
        shown[name] = inner
    elif isinstance(inner, dict):
        below = shown.setdefault(name, {})
        if below is not inner:  # else all of it is shown already
            _choose(cast("dict[str, Any]", inner), rest, below)
