"""What the server answers with, and how models look on the wire: camelCase, RFC 3339, without the key that marks their type."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from stepwell.model import TAG, Event, Hook, Page, Run

JSON: Final = "application/json"

_MARK: Final = TAG.encode()


@dataclass(slots=True)
class Answer:
    """A whole answer, or the beginning of one whose ``stream`` follows."""

    status: int
    body: bytes = b""
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    stream: AsyncIterator[bytes] | None = None


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer with a value as its JSON body."""
    return Answer(status, encode(value), headers=headers or {})


def encode(value: object) -> bytes:
    """Return the JSON of models and plain values."""
    data = _to_json(shown(value))
    # What a user has recorded may itself hold runs and events, with their marks.
    return _to_json(_unmarked(shown(value))) if _MARK in data else data


def wire_type(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the type of a model as it is on the wire: the same fields, without the mark."""
    return _WIRE.get(kind, kind)


def _wired(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for each in msgspec.structs.fields(kind):
        if each.default is not msgspec.NODEFAULT:
            fields.append((each.name, each.type, each.default))
        elif each.default_factory is not msgspec.NODEFAULT:
            fields.append((each.name, each.type, msgspec.field(default_factory=each.default_factory)))
        else:
            fields.append((each.name, each.type))
    return msgspec.defstruct(kind.__name__, fields, rename="camel", kw_only=True)


_WIRE: Final[dict[type[msgspec.Struct], type[msgspec.Struct]]] = {kind: _wired(kind) for kind in (Run, Event, Hook)}
_to_json: Final = msgspec.json.Encoder().encode


def shown(value: object) -> Any:
    """Return a model without its mark, also in a page or a list; all else as it is."""
    if isinstance(value, Page):
        page = cast(Page[object], value)
        return {"items": [shown(item) for item in page.items], "nextCursor": page.next_cursor}
    if isinstance(value, list):
        return [shown(item) for item in cast(Iterable[object], value)]
    if isinstance(value, Run | Event | Hook):
        model = cast(msgspec.Struct, value)
        return _WIRE[type(model)](**{name: getattr(model, name) for name in model.__struct_fields__})
    return value


def _unmarked(value: object) -> Any:
    """Return a value without the marks of the models in it; a user's own key of that name stays."""
    if isinstance(value, list):
        return [_unmarked(item) for item in cast(Iterable[object], value)]
    if isinstance(value, dict):
        return {key: _unmarked(child) for key, child in cast(dict[str, Any], value).items()}
    value = shown(value)
    if isinstance(value, msgspec.Struct):
        kind = type(value)
        names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
        return {encoded: _unmarked(getattr(value, name)) for name, encoded in names}
    return value
