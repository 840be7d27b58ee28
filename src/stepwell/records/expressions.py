"""The tree that a filter is parsed into."""

from typing import Final, Literal, TypeAlias

from msgspec import Struct

Operator: TypeAlias = Literal["=", "!=", ">", ">=", "<", "<=", "~", "!~"]
Path: TypeAlias = tuple[str, ...]
"""The names of a dotted path, outermost first."""

Value: TypeAlias = bool | int | float | str | None
"""What a field is compared with. Whole numbers are of 64 bits; beyond that they are floats."""

INTEGER_MAX: Final = 2**63 - 1
INTEGER_MIN: Final = -(2**63)


class Moment(Struct, frozen=True):
    """A time that is known only when the filter is used: ``@now`` and its kin. ``column`` is where it stands."""

    name: str
    column: int = 0


class Comparison(Struct, frozen=True):
    """A field, an operator, a value. With ``any_of``: true if it is true of any element of the list that the field is."""

    path: Path
    operator: Operator
    value: Value | Moment
    any_of: bool = False


class Every(Struct, frozen=True):
    """All of these: ``&&``."""

    parts: "tuple[Expression, ...]"


class Some(Struct, frozen=True):
    """At least one of these: ``||``."""

    parts: "tuple[Expression, ...]"


Expression: TypeAlias = Comparison | Every | Some


def number(value: int | float) -> int | float:
    """Return a number as databases compare it: whole ones beyond 64 bits as floats."""
    if isinstance(value, float) or INTEGER_MIN <= value <= INTEGER_MAX:
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
