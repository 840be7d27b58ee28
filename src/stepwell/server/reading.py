"""What a request says, read strictly: every bad field is named, unknown ones too."""

import json
import re
from functools import cache
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec

from stepwell import codec
from stepwell.errors import PayloadTooLargeError, ValidationError
from stepwell.server.problems import BadField, Problem, invalid, too_large

S = TypeVar("S", bound=msgspec.Struct)
_WRAPPED_LEVELS: Final = 4
"""A payload lies so deep in a body, at most; how deep it may nest itself is found out with it."""
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_UNKNOWN_SHOWN_MAX: Final = 20
_QUERY_FIELDS_MAX: Final = 100
_TICKET: Final = re.compile(rb"(?:^|&)ticket=([^&]*)")


def read_json(data: bytes, *, limit_bytes: int, depth_max: int) -> Any:
    """Return the value of a body.

    Raises:
        Problem: 400 if it is not JSON, 422 if it is and holds what is refused, 413 if it is too long.
    """
    try:
        return codec.parse(data, field="body", limit_bytes=limit_bytes, depth_max=depth_max + _WRAPPED_LEVELS)
    except PayloadTooLargeError as error:
        raise too_large(str(error), "body_bytes_max") from None
    except ValidationError as error:
        problem = _place(error)
        if " is not JSON" in str(error) or "must be JSON" in str(error):
            raise _unreadable(data, problem) from None
        raise invalid([problem]) from None


def _unreadable(data: bytes, found: BadField) -> Problem:
    """Tell what is not JSON from what Python's own, more lenient parser can still find the place of."""
    try:
        value = json.loads(data, parse_int=_bounded)
    except (ValueError, RecursionError):
        return Problem(400, "not_json", f"the body cannot be read: {found.detail}", errors=[found])
    try:
        codec.encode(value, field="body", limit_bytes=len(data) * 6 + 2)
    except ValidationError as error:
        return invalid([_place(error)])
    return Problem(400, "not_json", f"the body cannot be read: {found.detail}", errors=[found])


def _bounded(digits: str) -> int:
    """Python reads no integer of thousands of digits; one that is too long all the same shows where it stands."""
    return int(digits) if len(digits) <= codec.DIGITS_MAX else 10**codec.DIGITS_MAX


def _place(error: ValidationError) -> BadField:
    text = str(error).removeprefix("body")
    return BadField(error.field.removeprefix("body"), f"the body{text}" if text.startswith(":") else text.removeprefix("/"))


def read_body(value: Any, kind: type[S]) -> S:
    """Return a JSON value as one of the known bodies.

    Raises:
        Problem: 422, with each bad field.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise invalid(_faults(value, kind, error, "body")) from None


def read_query(query: bytes, kind: type[S]) -> S:
    """Return the parameters of a URL; those whose field is a list may come several times, or with commas.

    Raises:
        Problem: 422, with each bad parameter; 400 if it cannot be decoded.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_QUERY_FIELDS_MAX
        ) if query else []  # fmt: skip
    except ValueError:
        raise Problem(400, "bad_query", "the query is not URL-encoded UTF-8, or has over 100 fields") from None
    if any(name in {"key", "api_key", "apikey", "apiKey", "token", "access_token"} for name, _ in pairs):
        raise Problem(400, "key_in_url", "keys are taken from `Authorization: Bearer` alone, so that no log learns them")
    kinds = _kinds(kind)
    given: dict[str, Any] = {}
    for name, text in pairs:
        if "\0" in text:
            raise invalid([BadField(f"/{name[:200]}", f"{name[:200]} holds U+0000", "query")])
        if kinds.get(name) == "list":
            given.setdefault(name, []).extend([text])
        elif name in given:
            raise invalid([BadField(f"/{name}", f"{name} is given twice", "query")])
        else:
            given[name] = text
    for name, text in given.items():
        if isinstance(text, str):
            given[name] = _scalar(text, kinds.get(name, ""))
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise invalid(_faults(given, kind, error, "query")) from None


def ticket_in(query: bytes) -> str | None:
    """Return the ticket in a URL, if there is one. Tickets have no letter that would be encoded."""
    found = _TICKET.search(query)
    return None if found is None else found[1].decode("latin-1")


def _scalar(text: str, kind: str) -> object:
    """Return the number or truth that a text stands for, where one is due; otherwise the text."""
    if kind == "bool":
        return {"true": True, "false": False}.get(text, text)
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text)
    return text


@cache
def _kinds(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return what each parameter is: a list, a truth, a number, or a text (""). Looked up once for each route."""
    return {field.encode_name: _kind(field.type) for field in msgspec.structs.fields(kind)}


def _kind(of: Any) -> str:
    parts = {type(part) for part in _parts(msgspec.inspect.type_info(of))}
    known = {msgspec.inspect.ListType: "list", msgspec.inspect.BoolType: "bool", msgspec.inspect.IntType: "int"}
    return next((name for part, name in known.items() if part in parts), "")


def _parts(info: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    return info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)


def _faults(value: Any, kind: type[msgspec.Struct], first: Exception, where: str) -> list[BadField]:
    """Return all that is wrong with an object, field by field: the first error alone would make its sender come back often."""
    if not isinstance(value, dict):
        return [_fault("", first, where)]
    given = cast(dict[str, Any], value)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    unknown = [name for name in given if name not in fields][:_UNKNOWN_SHOWN_MAX]
    faults = [BadField(_pointer(name), f"{name[:200]!r} is not known here", where) for name in unknown]
    for name, field in fields.items():
        if name not in given:
            if field.required:
                faults.append(BadField(_pointer(name), f"{name} is missing", where))
            continue
        try:
            msgspec.convert(given[name], field.type)
        except msgspec.ValidationError as error:
            faults.append(_fault(name, error, where))
    return faults or [_fault("", first, where)]


def _fault(name: str, error: Exception, where: str) -> BadField:
    pointer, message = codec.explain_error(error)
    return BadField((_pointer(name) if name else "") + pointer, f"{name or 'the body'}{pointer}: {message}", where)


def _pointer(name: str) -> str:
    return "/" + name[:200].replace("~", "~0").replace("/", "~1")
