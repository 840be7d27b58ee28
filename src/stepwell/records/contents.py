"""What a record is made of: what users give, checked, and what the store adds.

A record is one JSON object. ``id`` stands first, what users gave after it, ``created`` and ``updated`` last.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from stepwell import codec
from stepwell.checks import check_name, check_run_id
from stepwell.errors import ValidationError
from stepwell.model import TAG
from stepwell.progress import RecordWrite

FIELDS_MAX: Final = 1_000
"""Top-level fields of one record."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode

Members: TypeAlias = dict[str, msgspec.Raw]
"""The fields of a record; what is in them is not looked at."""


def members_of(text: str) -> Members:
    """Return the fields of a record, or of what is to become one."""
    return _decode(text)


def compose(id: str, given: Mapping[str, msgspec.Raw], created: str, updated: str) -> str:
    """Return a record."""
    ends = {"id": id, **given, "created": created, "updated": updated}
    return _encode(ends).decode()


def given(record: Members) -> Members:
    """Return a record's fields without those that the store gives."""
    return {name: value for name, value in record.items() if name not in RESERVED}


RESERVED: Final = frozenset({"id", "created", "updated"})


def time_of(record: Members, name: str) -> str:
    """Return ``created`` or ``updated``."""
    return msgspec.json.decode(record[name], type=str)


def check_id(id: object, field: str = "id") -> str:
    """Return a record's id.

    Raises:
        ValidationError: It is not 1 to 200 of ``A-Z a-z 0-9 . _ : -``.
    """
    return check_run_id(id, field)


def check_collection(name: object) -> str:
    """Return a collection's name.

    Raises:
        ValidationError: It is none.
    """
    return check_name(name, "collection")


def write_of(
    action: Literal["create", "update", "upsert"], data: Any, *, id: str | None, if_match: object = None, field: str = "data",
    limit_bytes: int, depth_max: int,
) -> RecordWrite:  # fmt: skip
    """Return a write, checked as far as it can be without the store.

    Args:
        id: Of the record, where the caller names it apart from ``data``; "" draws nothing: ``data`` must have it.
        if_match: ``updated`` of the record as the caller knows it, or that record.

    Raises:
        ValidationError: ``data`` is no object, has a field that is none, or another id. ``field`` names it.
        NotSerializableError, PayloadTooLargeError: It cannot be stored.
    """
    text = codec.encode(data, field=field, limit_bytes=limit_bytes, depth_max=depth_max)
    if not text.startswith("{"):
        raise ValidationError(f"{field} must be an object with fields, not {type(data).__name__}", field=field)
    members = members_of(text)
    if TAG in members:
        raise ValidationError(f"{field} must be a dict, or what becomes one, not {type(data).__name__}", field=field)
    if len(members) > FIELDS_MAX:
        raise ValidationError(f"{field} has {len(members):,} fields; a record has at most {FIELDS_MAX:,}", field=field)
    for name in members:
        _check_field(name, field)
    own = members.get("id")
    own_id = id if own is None else check_id(msgspec.json.decode(own), f"{field}/id")
    if id and own_id != id:
        text = f"{field}/id is {own_id!r}, but the record's id is {id!r} and never changes"
        raise ValidationError(text, field=f"{field}/id")
    for name in ("created", "updated"):
        if name in members and not _is_time(msgspec.json.decode(members[name])):
            raise ValidationError(f"{field}/{name} is given by the store", field=f"{field}/{name}")
    if RESERVED & members.keys():
        text = _encode(given(members)).decode()
    return RecordWrite(action=action, id=own_id or "", data=text, if_match=check_match(if_match))


def _check_field(name: str, field: str) -> None:
    try:
        check_name(name, "the name of a field")
    except ValidationError as error:
        raise ValidationError(f"{field}: {error}", field=field) from None


def check_match(if_match: object) -> str | None:
    """Return which state of a record is meant.

    Raises:
        ValidationError: It is neither a record nor the ``updated`` of one.
    """
    if if_match is None:
        return None
    when: object = cast("dict[object, object]", if_match).get("updated") if isinstance(if_match, dict) else if_match
    if not isinstance(when, str) or not _is_time(when):
        raise ValidationError(f"if_match must be a record, or the `updated` of one, not {when!r:.80}", field="if_match")
    return when


def _is_time(value: object) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None
