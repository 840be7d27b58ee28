"""Users' values to JSON text and back: the only place that encodes them.

Every step encodes its result once and decodes it once, so the ordinary value passes in a few calls to compiled code. They tell
whether something *might* be wrong with it, never what. On any doubt one slow walk over the value finds the place, or finds that
there is nothing wrong and makes the text itself.

Run, Event, Hook, Page and RecordPage are recorded with the key ``model.TAG`` and come back as themselves. A user's own key of
that name, or of that name behind more dollar signs, is recorded with one dollar sign more.
"""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from inspect import Parameter
from typing import Any, Final, NoReturn, cast, get_args, get_origin
from zlib import crc32

import msgspec
from msgspec import UNSET, Struct
from msgspec.inspect import (
    AnyType,
    BoolType,
    CustomType,
    DictType,
    Field,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NoneType,
    RawType,
    StrType,
    Type,
    UnionType,
    type_info,
)

from stepwell.errors import NotSerializableError, PayloadTooLargeError, ValidationError
from stepwell.model import TAG, Event, Hook, Page, RecordPage, Run
from stepwell.settings import Settings

DIGITS_MAX: Final = 1_000
"""An integer has at most so many digits; that many survive exactly."""

_LIMIT_BYTES: Final = Settings().payload_bytes_max
_DEPTH_MAX: Final = Settings().depth_max
_INTEGER_END: Final = 10**DIGITS_MAX
_OWN: Final[dict[str, type[Struct]]] = {"Run": Run, "Event": Event, "Hook": Hook, "Page": Page, "RecordPage": RecordPage}
_MARK: Final = f'{TAG}"'
_TAG_LIKE: Final = re.compile(rf"\$*{re.escape(TAG)}")
_NO_FORM: Final = "\ufffc"
"""What an argument without a JSON form contributes to a fingerprint."""

_PLACE_LENGTH_MAX: Final = 200
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_FLESH: Final = bytes(set(range(256)) - set(b'[]{}:"'))
_FOREIGN_STARTS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0")
_AT: Final = re.compile(r"(.*?)(?: - at (`key` in )?`\$?([^`]*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([0-9]+)\]|\[\.\.\.\]")
_MISSING: Final = re.compile(r"missing required field `(.+?)`")


def encode(value: object, *, field: str, limit_bytes: int = _LIMIT_BYTES, depth_max: int = _DEPTH_MAX) -> str:
    """Return a value's JSON text. ``field`` says in errors what the value is.

    Raises:
        NotSerializableError: Something in it has no JSON form.
        ValidationError: NaN, Infinity, U+0000, half a surrogate pair, an integer of over 1,000 digits, two keys that JSON
            cannot tell apart, or nesting deeper than ``depth_max``.
        PayloadTooLargeError: The text is longer than ``limit_bytes`` in UTF-8.
    """
    if value is None:
        return "null"
    try:
        data = _to_json(value)
    except Exception:  # users' own serialisers run here, and may raise anything
        return _encode_slowly(value, field, limit_bytes, depth_max)
    if len(data) > limit_bytes:
        raise _too_large(field, len(data), limit_bytes)
    text = data.decode()
    if _MARK in text or _is_doubtful(value, data, depth_max):
        return _encode_slowly(value, field, limit_bytes, depth_max)
    return text


def decode(text: str | bytes, kind: Any = None, *, field: str = "value") -> Any:
    """Return the value of a JSON text that ``encode`` made.

    Args:
        text: What was recorded.
        kind: What to decode into; None or ``Any`` for what JSON makes of it.
        field: What the value is, for errors.

    Raises:
        ValidationError: The value does not fit ``kind``, or the text is damaged. ``field`` points to the place.
        TypeError: ``kind`` is nothing that can be decoded into.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        if kind is None or kind is Any:
            value = _from_json(text)
            return _revived(value) if _MARK in text else value
        read_text, read_value = _reader(kind)
        return read_value(_revived(_from_json(text))) if _MARK in text else read_text(text)
    except (ValueError, RecursionError) as error:
        pointer, message = explain_error(error)
        raise ValidationError(f"{_place(field, pointer)}: {message}", field=field + pointer) from None


def parse(text: str | bytes, *, field: str, limit_bytes: int = _LIMIT_BYTES, depth_max: int = _DEPTH_MAX) -> Any:
    """Return the value of a JSON text from outside, of which nothing is believed.

    Raises:
        ValidationError: It is not JSON in UTF-8 without a byte order mark, repeats a key, or holds what ``encode`` refuses.
        PayloadTooLargeError: It is longer than ``limit_bytes``.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        _refuse(field, "", "half a surrogate pair, which is no text")
    if len(data) > limit_bytes:
        raise _too_large(field, len(data), limit_bytes)
    if data.startswith(_FOREIGN_STARTS):
        _refuse(field, "", "must be JSON in UTF-8, without a byte order mark")
    try:
        value = _from_json(data)
    except RecursionError:
        _refuse(field, "", f"nests deeper than {depth_max}")
    except ValueError as error:
        _refuse(field, "", f"is not JSON: {error}")
    if _is_doubtful(value, data, depth_max):
        _Walk(field, depth_max).plain(value)
    if data.count(b":") > 1 and _keys_count(data) != _keys_count(_to_json(value)):
        _refuse(field, "", f"the key {_repeated_key(data)!r} appears twice in one object")
    return value


def canonical_hash(text: str | bytes) -> str:
    """Return 16 hex digits, equal for two JSON texts of equal value: the order of keys does not count, and 1 is not 1.0."""
    return blake2b(_to_sorted_json(_from_json(text)), digest_size=8).hexdigest()


def fingerprint(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return 8 hex digits that change with a call's arguments, the same in every process; "" if there are none.

    Never raises. An argument without a JSON form counts as present and no more, since what can be told of it (its address)
    differs from one process to the next.
    """
    if not args and not kwargs:
        return ""
    try:
        data = _to_sorted_json((args, kwargs))
    except Exception:  # users' own serialisers run here, and may raise anything
        data = _to_sorted_json(([_printed(value) for value in args], {name: _printed(kwargs[name]) for name in kwargs}))
    return f"{crc32(data):08x}"


def decoder_for(annotation: Any) -> Any:
    """Return what a result so annotated is decoded into, or None if it is to stay what JSON makes of it.

    None for no annotation, for plain JSON types, and for what cannot be decoded into.
    """
    try:
        return _decoder_for(annotation)
    except (NameError, TypeError):  # it names what is not defined yet, or cannot be looked up
        return None


@lru_cache(maxsize=1024)
def _decoder_for(annotation: Any) -> Any:
    if get_origin(annotation) in (Awaitable, Coroutine):
        annotation = get_args(annotation)[-1]
    if annotation in (None, Any, object, Parameter.empty):
        return None
    try:
        if not _is_pydantic(annotation) and _is_plain(type_info(annotation)):
            return None
        _reader(annotation)
    except NameError:
        raise
    except Exception:  # building a schema runs users' code; an annotation that has none says nothing
        return None
    return annotation


def _is_plain(info: Type) -> bool:
    match info:
        case AnyType() | NoneType() | BoolType() | IntType() | FloatType() | StrType() | LiteralType():
            return True
        case CustomType():
            return info.cls is object
        case ListType():
            return _is_plain(info.item_type)
        case DictType():
            return isinstance(info.key_type, StrType | AnyType) and _is_plain(info.value_type)
        case UnionType():
            return all(map(_is_plain, info.types))
        case _:
            return False


def _is_decodable(info: Type | Field, seen: set[int]) -> bool:
    if id(info) in seen:
        return True
    seen.add(id(info))
    if isinstance(info, CustomType):
        return info.cls is object or _is_pydantic(info.cls)
    parts = (part for name in info.__struct_fields__ for part in _several(getattr(info, name)))
    return not isinstance(info, RawType) and all(_is_decodable(part, seen) for part in parts if isinstance(part, Type | Field))


def _several(value: object) -> Iterable[object]:
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)


# --- what compiled code can tell ---


def _hook(value: object) -> object:
    """Make what msgspec does not know into what it does."""
    kind = type(value)
    if hasattr(kind, "__pydantic_serializer__"):
        # A model writes itself as it has settled with pydantic. Aliases are kept and computed fields left out, so that it can
        # read itself back.
        dumped: object = cast(Any, value).model_dump(mode="json", by_alias=True, round_trip=True)
        return dumped
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"{_name_of(kind)} has no JSON form")


def _hook_or_marker(value: object) -> object:
    try:
        return _hook(value)
    except Exception:  # users' own serialisers run here, and may raise anything
        return _NO_FORM


_to_json: Final = msgspec.json.Encoder(enc_hook=_hook).encode
_to_packed: Final = msgspec.msgpack.Encoder(enc_hook=_hook, order="deterministic").encode
_to_sorted_json: Final = msgspec.json.Encoder(enc_hook=_hook_or_marker, order="deterministic").encode
_from_json: Final = msgspec.json.Decoder().decode


def _is_doubtful(value: object, data: bytes, depth_max: int) -> bool:
    """Tell whether ``data``, the JSON of ``value``, may hide something that is refused."""
    # MessagePack gives a second opinion on what JSON has swallowed: with an order it raises for keys that are not strings, it
    # raises for integers of over 64 bits, and NaN and Infinity are still there, as floats whose first byte is 7f or ff.
    try:
        packed = _to_packed(value)
    except Exception:  # users' own serialisers run here, and may raise anything
        return True
    return (
        packed.find(b"\xcb\x7f") >= 0
        or packed.find(b"\xcb\xff") >= 0
        or data.find(b"\\u0000") >= 0
        or (len(data) > 2 * depth_max and _is_deeper(data, depth_max))
    )


def _skeleton(data: bytes) -> bytes:
    """Return the brackets and colons of a well-formed JSON text, without those in its strings. All brackets are square."""
    if data.find(b"\\") >= 0:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Most strings are now two quotes side by side. To drop these first spares most of the splitting.
    return b"".join(data.translate(_SQUARE, _FLESH).replace(b'""', b"").split(b'"')[::2])


def _keys_count(data: bytes) -> int:
    return _skeleton(data).count(b":")


def _is_deeper(data: bytes, depth_max: int) -> bool:
    brackets = _skeleton(data).replace(b":", b"")
    for _ in range(depth_max):
        if not brackets:
            break
        # One replacement takes away the innermost level everywhere.
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _repeated_key(data: bytes) -> str:
    repeated: list[str] = []

    def look(members: list[tuple[str, object]]) -> None:
        repeated.extend(name for name, count in Counter(name for name, _ in members).items() if count > 1)

    json.loads(data, object_pairs_hook=look)
    return repeated[0][:_PLACE_LENGTH_MAX]


# --- the slow walk ---


def _encode_slowly(value: object, field: str, limit_bytes: int, depth_max: int) -> str:
    data = _to_json(_Walk(field, depth_max).plain(value))
    if len(data) > limit_bytes:
        raise _too_large(field, len(data), limit_bytes)
    return data.decode()


class _Walk:
    """One slow and thorough way through a value."""

    def __init__(self, field: str, depth_max: int) -> None:
        self._field = field
        self._depth_max = depth_max

    def plain(self, value: object) -> object:
        """Return the value made of None, bool, int, float, str, list and dict, or raise what ``encode`` raises."""
        try:
            return self._plain(value, "", 0)
        except RecursionError:
            _refuse(self._field, "", "nests too deep")

    def _plain(self, value: object, pointer: str, depth: int) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self._plain(value.value, pointer, depth)
        if isinstance(value, str):
            return self._text(str.__str__(value), pointer)
        if isinstance(value, int):
            return self._integer(int.__int__(value), pointer)
        if isinstance(value, float):
            return self._float(float.__float__(value), pointer)
        if isinstance(value, dict | list | tuple | set | frozenset | Struct) or _is_dataclass(value):
            if depth >= self._depth_max:
                _refuse(self._field, pointer, f"nests deeper than {self._depth_max}")
            return self._container(value, pointer, depth + 1)
        try:
            built_in = msgspec.to_builtins(value, enc_hook=_hook)
        except Exception as error:  # users' own serialisers run here, and may raise anything
            self._no_form(value, pointer, error)
        return self._plain(built_in, pointer, depth)

    def _container(self, value: Any, pointer: str, depth: int) -> object:
        if isinstance(value, dict):
            return self._object(cast(dict[object, object], value).items(), pointer, depth)
        if isinstance(value, Struct):
            kind, config = type(value), value.__struct_config__
            members = {
                encoded: getattr(value, name)
                for name, encoded in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
                if getattr(value, name) is not UNSET
            }
            if config.array_like:
                return self._list([*([] if config.tag is None else [config.tag]), *members.values()], pointer, depth)
            tagged = {} if config.tag_field is None else {_tag_key(kind, config.tag_field): config.tag}
            return tagged | self._object(members.items(), pointer, depth)
        if is_dataclass(value):
            members = {each.name: getattr(value, each.name, UNSET) for each in fields_of(value)}
            return self._object(((name, child) for name, child in members.items() if child is not UNSET), pointer, depth)
        plain = self._list(cast(Iterable[object], value), pointer, depth)
        # A set has no order that another process would give it too.
        return sorted(plain, key=_to_json) if isinstance(value, set | frozenset) else plain

    def _list(self, items: Iterable[object], pointer: str, depth: int) -> list[object]:
        return [self._plain(item, f"{pointer}/{index}", depth) for index, item in enumerate(items)]

    def _object(self, members: Iterable[tuple[object, object]], pointer: str, depth: int) -> dict[str, object]:
        plain: dict[str, object] = {}
        for key, child in members:
            name = self._key(key, pointer)
            recorded = _escaped(name)
            if recorded in plain:
                _refuse(self._field, pointer, f"two keys are both {name[:_PLACE_LENGTH_MAX]!r} in JSON")
            plain[recorded] = self._plain(child, pointer + _segment(name), depth)
        return plain

    def _key(self, key: object, pointer: str) -> str:
        if isinstance(key, Enum):
            return self._key(key.value, pointer)
        if isinstance(key, str):
            return self._text(str.__str__(key), pointer, "a key")
        if key is None or isinstance(key, bool):
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, int):
            self._integer(int.__int__(key), pointer)
        elif isinstance(key, float):
            self._float(float.__float__(key), pointer)
        try:
            return str(next(iter(msgspec.to_builtins({key: None}, str_keys=True))))
        except TypeError as error:
            self._no_form(key, pointer, error, "a key of type ")

    def _text(self, text: str, pointer: str, what: str = "a text") -> str:
        if "\0" in text:
            _refuse(self._field, pointer, f"{what} holds U+0000, which cannot be stored")
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            _refuse(self._field, pointer, f"{what} holds half a surrogate pair, which cannot be stored")
        return text

    def _integer(self, number: int, pointer: str) -> int:
        if not -_INTEGER_END < number < _INTEGER_END:
            _refuse(self._field, pointer, f"an integer of over {DIGITS_MAX:,} digits")
        return number

    def _float(self, number: float, pointer: str) -> float:
        if not math.isfinite(number):
            _refuse(self._field, pointer, f"{number} has no JSON form")
        return number

    def _no_form(self, value: object, pointer: str, cause: Exception, what: str = "") -> NoReturn:
        text = f"{_place(self._field, pointer)}: {what}{_name_of(type(value))} has no JSON form"
        raise NotSerializableError(text, field=self._field + pointer, pointer=pointer) from cause


def _is_dataclass(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _printed(value: object) -> object:
    try:
        return _Walk("argument", _DEPTH_MAX).plain(value)
    except ValidationError:
        return _NO_FORM


# --- stepwell's own types, and keys that look like theirs ---


def _tag_key(kind: type[Struct], tag_field: str) -> str:
    return tag_field if kind in _OWN.values() else _escaped(tag_field)


def _escaped(key: str) -> str:
    return f"${key}" if key.endswith(TAG) and _TAG_LIKE.fullmatch(key) else key


def _unescaped(key: str) -> str:
    return key[1:] if key != TAG and key.endswith(TAG) and _TAG_LIKE.fullmatch(key) else key


def _revived(value: Any) -> Any:
    if isinstance(value, list):
        return [_revived(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    recorded = cast(dict[str, Any], value)
    members = {_unescaped(key): _revived(child) for key, child in recorded.items()}
    tag = recorded.get(TAG)
    own = _OWN.get(tag) if isinstance(tag, str) else None
    return members if own is None else msgspec.convert(members, own)


# --- typed reading ---


@lru_cache(maxsize=1024)
def _reader(kind: Any) -> tuple[Callable[[str], Any], Callable[[Any], Any]]:
    """Return how to read ``kind`` from a text, and from what JSON makes of it."""
    if _is_pydantic(kind):
        # Whoever has such an annotation has imported pydantic; we do not for the others' sake.
        adapter = sys.modules["pydantic"].TypeAdapter(kind)
        return adapter.validate_json, lambda value: adapter.validate_json(_to_json(value))
    if not _is_decodable(type_info(kind), set()):
        raise TypeError(f"{kind} holds a type that nothing can be decoded into")
    decoder = msgspec.json.Decoder(kind, dec_hook=_dec_hook)
    return decoder.decode, lambda value: msgspec.convert(value, kind, str_keys=True, dec_hook=_dec_hook)


def _is_pydantic(kind: Any) -> bool:
    """Tell whether pydantic is needed to read this: a model, one of pydantic's own types or constraints, or a list of such."""
    if "pydantic" not in sys.modules:
        return False
    # Constraints in an ``Annotated`` are instances of pydantic's classes; all the rest says itself that it has a schema.
    known = hasattr(kind, "__pydantic_validator__") or hasattr(kind, "__get_pydantic_core_schema__")
    if known or type(kind).__module__.partition(".")[0] == "pydantic":
        return True
    return any(_is_pydantic(part) for part in get_args(kind))


def _dec_hook(kind: Any, value: Any) -> Any:
    """Make what msgspec cannot: anything, for ``object``, and pydantic's models. A reader is built for no other kinds."""
    if isinstance(value, kind):
        return value
    try:
        return _reader(kind)[0](_to_json(value).decode())
    except ValueError as error:
        pointer, message = explain_error(error)
        raise ValueError(f"{message} (at {pointer or '/'})") from None


# --- errors ---


def explain_error(error: Exception) -> tuple[str, str]:
    """Return where an error of msgspec or pydantic is, as a JSON pointer, and what it says."""
    if isinstance(error, RecursionError):
        return "", "nests too deep"
    if hasattr(error, "errors"):
        found = cast(Any, error).errors(include_url=False, include_context=False, include_input=False)
        problems = [("".join(_segment(str(part)) for part in each["loc"]), each["msg"]) for each in found[:5]]
        return problems[0][0], "; ".join([problems[0][1], *(f"{pointer}: {message}" for pointer, message in problems[1:])])
    match = _AT.fullmatch(str(error))
    assert match, "the pattern takes any text"
    message, in_key, path = match.groups(default="")
    pointer = "".join(_segment(name or index or "*") for name, index in _STEP.findall(path))
    missing = _MISSING.search(message)
    return pointer + (_segment(missing[1]) if missing else ""), f"a key: {message}" if in_key else message


def _segment(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _place(field: str, pointer: str) -> str:
    place = field + pointer
    return place if len(place) <= _PLACE_LENGTH_MAX else f"{place[:_PLACE_LENGTH_MAX]}..."


def _refuse(field: str, pointer: str, problem: str) -> NoReturn:
    raise ValidationError(f"{_place(field, pointer)}: {problem}", field=field + pointer) from None


def _too_large(field: str, size_bytes: int, limit_bytes: int) -> PayloadTooLargeError:
    text = f"{field}: {size_bytes:,} bytes of JSON; the limit is {limit_bytes:,}"
    return PayloadTooLargeError(text, size_bytes=size_bytes, limit_bytes=limit_bytes)


def _name_of(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
