"""Spans and points of time at the public door: ``"1h30m"`` and back, aware datetimes and back.

Inside, both are whole milliseconds. Whatever has to be rounded is rounded up: better a little late than early.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from stepwell.errors import InvalidDurationError, ValidationError

Duration: TypeAlias = str | int | float | timedelta
"""``"250ms"``, ``"0.3s"``, ``"10m"``, ``"1h30m"``, ``"7d"``, a timedelta, or a number, whose unit depends on where it stands."""

BareNumber: TypeAlias = Literal["specification", "ms", "s"]
"""What a number without a unit means. ``"specification"``: milliseconds from 1000 upward, seconds below."""

LONGEST_MS: Final = 36_525 * 86_400_000
"""A hundred years."""

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+")
_TEXT_LENGTH_MAX: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_BARE: Final[dict[BareNumber, str]] = {
    "specification": "a number (milliseconds from 1000 upward, seconds below)",
    "ms": "a number of milliseconds",
    "s": "a number of seconds",
}


def parse_ms(value: Duration, *, bare: BareNumber, field: str = "duration") -> int:
    """Return a duration in whole milliseconds, rounded up.

    Args:
        value: Zero is legal; signs, exponents and spaces are not.
        bare: What a number without a unit means.
        field: What the duration is for; named in the error.

    Raises:
        InvalidDurationError: It cannot be read, is negative, or is longer than a hundred years.
    """
    span = _exact_ms(value, bare)
    if span is None or span < 0:
        raise InvalidDurationError(
            f'{field}: {_shown(value)} is not a duration; write "250ms", "0.3s", "10m", "1h30m", "7d", '
            f"a timedelta, or {_BARE[bare]}",
            field=field,
        )
    if span > LONGEST_MS:
        raise InvalidDurationError(f'{field}: {_shown(value)} is too long; the longest is "36525d"', field=field)
    return math.ceil(span)


def format_ms(ms: int) -> str:
    """Return a duration as it is written: ``"1h30m"``, ``"250ms"``, ``"0s"``. ``parse_ms`` reads it back."""
    if ms < 0:
        return f"-{format_ms(-ms)}"
    text = ""
    for unit, size_ms in reversed(_UNITS_MS.items()):
        count, ms = divmod(ms, size_ms)
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def to_ms(when: datetime, *, field: str) -> int:
    """Return a point in time as milliseconds since 1970 UTC, rounded up.

    Raises:
        ValidationError: It is no datetime, or says no time zone.
    """
    # Asked of values that people pass at the public door, whatever their annotation says.
    if not isinstance(when, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(f"{field}: expected a datetime with a time zone, not {type(when).__name__}", field=field)
    if when.utcoffset() is None:
        raise ValidationError(
            f"{field}: {when.isoformat()} has no time zone; write datetime.now(UTC) or when.replace(tzinfo=UTC)", field=field
        )
    return -((_EPOCH - when) // _MILLISECOND)


def from_ms(ms: int) -> datetime:
    """Return the point in time that is so many milliseconds after 1970, aware, in UTC."""
    return _EPOCH + ms * _MILLISECOND


def _exact_ms(value: object, bare: BareNumber) -> Fraction | int | None:
    if isinstance(value, str):
        return _text_ms(value) if len(value) <= _TEXT_LENGTH_MAX else None
    if isinstance(value, timedelta):
        return Fraction(value // timedelta(microseconds=1), 1000)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        number = Fraction(int(value))
    elif math.isfinite(value):
        # 0.1 means a tenth, not the nearest binary fraction: rounded up, that would be a millisecond more.
        number = Fraction(float.__repr__(value))
    else:
        return None
    in_ms = bare == "ms" or (bare == "specification" and number >= 1000)
    return number if in_ms else number * 1000


@lru_cache(maxsize=256)
def _text_ms(text: str) -> Fraction | None:
    if not _WHOLE.fullmatch(text):
        return None
    return sum((Fraction(number) * _UNITS_MS[unit] for number, unit in _PART.findall(text)), Fraction(0))


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(value) if len(value) <= _TEXT_LENGTH_MAX else f"{value[:20]!r}... ({len(value)} characters)"
    if isinstance(value, timedelta) or value is None:
        return repr(value)
    if isinstance(value, int | float):
        # The interpreter refuses to write down an int of thousands of digits.
        return repr(value) if isinstance(value, float) or abs(value) < 10**30 else "a number of over 30 digits"
    return f"a value of type {type(value).__name__}"
