"""Names, ids and numbers that come from users: good ones pass, others get an error that names the field."""

import re
from typing import Final

from stepwell.errors import ValidationError

NAME_LENGTH_MAX: Final = 200
_RUN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,200}")


def check_name(name: object, field: str) -> str:
    """Return a name if it is one: 1 to 200 characters, none of them a control character.

    Raises:
        ValidationError: It is not.
    """
    if not isinstance(name, str):
        raise ValidationError(f"{field} must be a string, not {type(name).__name__}", field=field)
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise ValidationError(f"{field} must have 1 to {NAME_LENGTH_MAX} characters, not {len(name)}", field=field)
    if not name.isprintable() and any(_is_control(ord(character)) for character in name):
        raise ValidationError(f"{field} must not contain control characters: {name!r}", field=field)
    return name


def _is_control(code: int) -> bool:
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000


def check_run_id(run_id: object, field: str = "run_id") -> str:
    """Return a run id if it is one.

    Raises:
        ValidationError: It is not 1 to 200 of ``A-Z a-z 0-9 . _ : -``.
    """
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise ValidationError(f"{field} must be 1 to 200 characters of A-Z a-z 0-9 . _ : -, not {run_id!r:.80}", field=field)
    return run_id


def check_int(value: object, field: str, least: int, most: int) -> int:
    """Return a whole number if it is one within the bounds.

    Raises:
        ValidationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValidationError(f"{field} must be a whole number from {least:,} to {most:,}, not {value!r:.80}", field=field)
    return value


def check_float(value: object, field: str, least: float, most: float) -> float:
    """Return a number if it is one within the bounds.

    Raises:
        ValidationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValidationError(f"{field} must be a number from {least:,} to {most:,}, not {value!r:.80}", field=field)
    return value
