"""The text of a filter, parsed into a tree. The language is told in ``filter.lark``."""

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NoReturn, Protocol, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, v_args  # pyright: ignore[reportUnknownVariableType]

from stepwell.errors import ValidationError
from stepwell.records.expressions import Comparison, Every, Expression, Moment, Operator, Path, Some, Value, number
from stepwell.records.moments import MOMENTS
from stepwell.records.paths import check_path
from stepwell.records.patterns import PATTERN_LENGTH_MAX

FILTER_BYTES_MAX: Final = 2_048
NODES_MAX: Final = 64
DEPTH_MAX: Final = 10

_SHOWN_MAX: Final = 20
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"', "/": "/", "%": r"\%"}
_WORDS: Final = {
    "FIELD": "a field", "OPERATOR": "an operator", "LPAR": "(", "RPAR": ")", "STRING": "a value", "NUMBER": "a value",
    "MOMENT": "a value", "TRUE": "a value", "FALSE": "a value", "NULL": "a value", "$END": "the end",
}  # fmt: skip
"""What the parser's words for what it expected mean to people; ``&&`` and ``||`` are what it calls by made-up names."""


@lru_cache(maxsize=1_000)
def parse(text: str) -> Expression | None:
    """Return what a filter says; None for one that says nothing, which fits every record.

    Raises:
        ValidationError: It is not one, or exceeds a limit. The text gives the column (and the line, if it has several) and what
            was expected. ``field`` is ``filter``.
    """
    if len(text.encode("utf-8", "replace")) > FILTER_BYTES_MAX:
        _refuse(f"it is longer than {FILTER_BYTES_MAX:,} bytes")
    if not _NOTHING.sub("", text):
        return None
    try:
        # The parser calls the methods of ``_Builder`` as it goes, so that no tree is deeper than what is allowed.
        group = _parser().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(error, text) from None
    return group.tree


_GRAMMAR: Final = (files("stepwell.records") / "filter.lark").read_text(encoding="utf-8")
_NOTHING: Final = re.compile(r"//[^\n]*|[ \t\r\n]+")


class _Group:
    """A part of a filter, with what is counted of it."""

    __slots__ = ("depth", "nodes", "tree")

    def __init__(self, tree: Expression, nodes: int, depth: int) -> None:
        self.tree = tree
        self.nodes = nodes
        self.depth = depth


_WORDLESS: Final[dict[Any, str]] = {True: "true", False: "false", None: "null"}


@v_args(inline=True)
class _Builder(Transformer[Token, _Group]):
    """Makes the tree, innermost parts first."""

    def comparison(self, field: Token, operator: Token, value: "_Literal") -> _Group:
        path = _path(field)
        name = cast("Operator", operator.removeprefix("?"))
        if name in ("~", "!~"):
            if not isinstance(value.value, str):
                found = _WORDLESS[value.value] if value.token is None else value.token
                _refuse(f"{name} compares with a text in quotes, not with {_shown(found)}", value.token or operator)
            if len(value.value) > PATTERN_LENGTH_MAX:
                _refuse(f"the text of {name} is longer than {PATTERN_LENGTH_MAX} characters", value.token)
        return _Group(Comparison(path, name, value.value, operator.startswith("?")), 1, 1)

    def group(self, inner: _Group) -> _Group:
        if inner.depth >= DEPTH_MAX:
            _refuse(f"it nests deeper than {DEPTH_MAX}")
        return _Group(inner.tree, inner.nodes, inner.depth + 1)

    def any(self, *parts: _Group) -> _Group:
        return _joined(Some(tuple(part.tree for part in parts)), parts)

    def every(self, *parts: _Group) -> _Group:
        return _joined(Every(tuple(part.tree for part in parts)), parts)

    def string(self, token: Token) -> "_Literal":
        text = _ESCAPE.sub(lambda found: _unescaped(found, token), token[1:-1])
        # Two halves of a pair, each escaped, are one character.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if "\\u" in token else text
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            _refuse("the text holds U+0000, or half a surrogate pair, which no record holds", token)
        return _Literal(token, text)

    def number(self, token: Token) -> "_Literal":
        is_whole = token.lstrip("-").isdigit()
        value = number(int(token)) if is_whole else float(token)
        if value in (float("inf"), float("-inf")):
            _refuse("the number is too large", token)
        return _Literal(token, value)

    def yes(self) -> "_Literal":
        return _Literal(None, True)

    def no(self) -> "_Literal":
        return _Literal(None, False)

    def nothing(self) -> "_Literal":
        return _Literal(None, None)

    def moment(self, token: Token) -> "_Literal":
        if token not in MOMENTS:
            _refuse(f"there is no {_shown(token)}; there are {', '.join(MOMENTS)}", token)
        return _Literal(token, Moment(str(token), token.column or 0))


class _Literal:
    """A value, and where it stands."""

    __slots__ = ("token", "value")

    def __init__(self, token: Token | None, value: Value | Moment) -> None:
        self.token = token
        self.value = value


def _joined(tree: Expression, parts: tuple[_Group, ...]) -> _Group:
    nodes = 1 + sum(part.nodes for part in parts)
    if nodes > NODES_MAX:
        _refuse(f"it has more than {NODES_MAX} comparisons and connections")
    return _Group(tree, nodes, max(part.depth for part in parts))


def _path(field: Token) -> Path:
    try:
        return check_path(str(field), "filter")
    except ValidationError as error:
        _refuse(str(error).removeprefix("filter: "), field)


def _unescaped(found: "re.Match[str]", token: Token) -> str:
    code, letter = found.groups()
    if code is not None:
        return chr(int(code, 16))
    if letter not in _ESCAPED:
        _refuse(f"{found[0]!r:.20} is no escape; write \\\\ for a backslash", token)
    return _ESCAPED[letter]


class _Parser(Protocol):
    """What is used of lark's; the transformer makes it return this."""

    def parse(self, text: str) -> _Group: ...


@lru_cache(maxsize=1)
def _parser() -> "_Parser":
    return cast("_Parser", Lark(_GRAMMAR, parser="lalr", transformer=_Builder(), maybe_placeholders=False))


def _unexpected(error: UnexpectedInput, text: str) -> ValidationError:
    told = cast("Any", error)
    expected = cast("set[str]", getattr(told, "expected", None) or getattr(told, "allowed", None) or set())
    words = sorted({_WORDS.get(word, "&& or ||") for word in expected if word not in {"COMMENT", "SPACE"}})
    if isinstance(error, UnexpectedCharacters):
        rest = text[told.pos_in_stream :]
        found = "a text whose quotes do not end" if rest[:1] in {"'", '"'} and "a value" in words else _shown(rest)
    elif told.token.type == "$END":
        return _error(f"expected {', '.join(words)}, found the end", *_end(text), text)
    else:
        found = _shown(told.token)
    return _error(f"expected {', '.join(words)}, found {found}", error.line, error.column, text)


def _end(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1


def _shown(text: str | None) -> str:
    shown = (text or "").split("\n")[0]
    return repr(shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}...")


def _error(problem: str, line: int, column: int, text: str) -> ValidationError:
    where = f"line {line}, column {column}" if "\n" in text else f"column {column}"
    return ValidationError(f"filter, {where}: {problem}", field="filter")


def _refuse(problem: str, token: Token | None = None) -> NoReturn:
    where = "" if token is None or not isinstance(token.column, int) else f", column {token.column}"
    if token is not None and (token.line or 1) > 1:
        where = f", line {token.line}{where}"
    raise ValidationError(f"filter{where}: {problem}", field="filter")
