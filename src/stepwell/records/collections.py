"""What is settled for a collection: its indexes, and the schema of its records."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from stepwell.errors import ValidationError
from stepwell.records.indexing import Index
from stepwell.records.paths import check_path
from stepwell.records.schemas import check_schema

INDEXES_MAX: Final = 16
INDEX_FIELDS_MAX: Final = 8


class Settled(Struct, frozen=True, omit_defaults=True):
    """As it is stored. ``numbers`` is how many indexes there have ever been."""

    indexes: tuple[Index, ...] = ()
    schema: dict[str, Any] | None = None
    numbers: int = 0


def read_settled(text: str) -> Settled:
    """Return what is stored."""
    return msgspec.json.decode(text, type=Settled)


def settled_text(settled: Settled) -> str:
    """Return what is to be stored."""
    return msgspec.json.encode(settled).decode()


def wanted_indexes(indexes: object) -> list[tuple[tuple[str, ...], bool]]:
    """Return the fields of each index that a user declares, and whether it is unique.

    Raises:
        ValidationError: ``indexes`` is no list of ``"status"``, ``"customer.id,created"`` or ``{"fields": [...], "unique":
            True}``.
    """
    if isinstance(indexes, str | Mapping) or not isinstance(indexes, Sequence):
        raise ValidationError(f"indexes must be a list, not {indexes!r:.80}", field="indexes")
    wanted = [_wanted(index, f"indexes/{place}") for place, index in enumerate(cast("Sequence[object]", indexes))]
    if len(wanted) > INDEXES_MAX:
        raise ValidationError(f"indexes: a collection has at most {INDEXES_MAX}", field="indexes")
    names = [fields for fields, _ in wanted]
    for place, fields in enumerate(names):
        if fields in names[:place]:
            raise ValidationError(f"indexes/{place}: {','.join(fields)} is declared twice", field=f"indexes/{place}")
    return wanted


def _wanted(index: object, field: str) -> tuple[tuple[str, ...], bool]:
    unique: object = False
    fields: object = index
    if isinstance(index, dict):
        given = cast("dict[object, object]", index)
        unknown = sorted(map(str, given.keys() - {"fields", "unique"}))
        if unknown or "fields" not in given:
            raise ValidationError(f"{field} must have `fields`, and may have `unique`, not {index!r:.80}", field=field)
        fields, unique = given["fields"], given.get("unique", False)
    if not isinstance(unique, bool):
        raise ValidationError(f"{field}/unique must be True or False, not {unique!r:.80}", field=f"{field}/unique")
    names: list[object] = [name.strip() for name in fields.split(",")] if isinstance(fields, str) else _listed(fields, field)
    if not 1 <= len(names) <= INDEX_FIELDS_MAX:
        raise ValidationError(f"{field}: an index has 1 to {INDEX_FIELDS_MAX} fields, not {len(names)}", field=field)
    return tuple(".".join(check_path(name, field)) for name in names), unique


def _listed(fields: object, field: str) -> list[object]:
    if not isinstance(fields, list | tuple):
        raise ValidationError(f"{field} must be the names of fields, not {fields!r:.80}", field=field)
    return list(cast("Sequence[object]", fields))


def wanted_schema(schema: object) -> dict[str, Any]:
    """Return a JSON Schema that a user declares.

    Raises:
        ValidationError: It is none, or what checks it is not installed.
    """
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = ""
    if not text.startswith("{") or len(text) > SCHEMA_LENGTH_MAX:
        raise ValidationError(
            f"schema must be a JSON Schema: an object of at most {SCHEMA_LENGTH_MAX:,} characters", field="schema"
        )
    checked: dict[str, Any] = json.loads(text)
    check_schema(checked)
    return checked


SCHEMA_LENGTH_MAX: Final = 32_768
