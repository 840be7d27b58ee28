"""JSON Schema for the records of a collection. The package that checks it, jsonschema, is an extra that may be missing."""

from functools import lru_cache
from typing import Any, Final, cast

import msgspec

from stepwell.errors import ValidationError

_SHOWN_MAX: Final = 200


def check_schema(schema: dict[str, Any]) -> None:
    """Make sure that a schema is one, and refers to nothing outside of itself.

    Raises:
        ValidationError: It is none, or what checks it is not installed. ``field`` is ``schema``, and the place behind it.
    """
    _, kind, errors = _package()
    try:
        kind.check_schema(schema)
    except errors as error:
        place = _place("schema", error)
        raise ValidationError(f"{place}: {error.message:.{_SHOWN_MAX}}", field=place) from None
    outside = _outside(schema)
    if outside is not None:
        raise ValidationError(f"schema refers to {outside!r:.80}: only references that begin with # are followed", field="schema")


def check_record(schema: str, fields: str) -> None:
    """Make sure that the fields of a record fit a schema; both are JSON texts.

    Raises:
        ValidationError: They do not, or what checks it is not installed. ``field`` names the one that does not.
    """
    best, _, _ = _package()
    error = best(_validator(schema).iter_errors(msgspec.json.decode(fields)))
    if error is not None:
        place = _place("data", error)
        raise ValidationError(f"{place}: {error.message:.{_SHOWN_MAX}}", field=place)


@lru_cache(maxsize=1)
def _package() -> tuple[Any, Any, Any]:
    """Return how to choose among errors, what checks, and what it raises."""
    try:
        import jsonschema
    except ModuleNotFoundError:
        raise ValidationError(
            "the collection has a schema, and what checks it is not there. Try: pip install 'stepwell[schemas]'", field="schema"
        ) from None
    package: Any = jsonschema
    return package.exceptions.best_match, package.Draft202012Validator, package.SchemaError


@lru_cache(maxsize=100)
def _validator(schema: str) -> Any:
    import referencing

    _, kind, _ = _package()
    # With a registry of its own it never fetches anything.
    empty: Any = cast("Any", referencing).Registry()
    return kind(msgspec.json.decode(schema), registry=empty)


def _place(top: str, error: Any) -> str:
    names = [str(part) for part in error.absolute_path]
    if error.validator == "required":
        names += [name for name in error.validator_value if name not in error.instance][:1]
    return "/".join([top, *names])


def _outside(schema: object) -> str | None:
    if isinstance(schema, list):
        return next((found for part in cast("list[object]", schema) if (found := _outside(part)) is not None), None)
    if not isinstance(schema, dict):
        return None
    members = cast("dict[str, object]", schema)
    for name in ("$ref", "$dynamicRef"):
        target = members.get(name)
        if isinstance(target, str) and not target.startswith("#"):
            return target
    return _outside(list(members.values()))
