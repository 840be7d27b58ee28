"""Names of fields: dotted paths into records."""

import re
from typing import Final

from stepwell.errors import ValidationError
from stepwell.records.expressions import Path

NAMES_MAX: Final = 10
"""How deep a path may lead."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def check_path(text: object, field: str) -> Path:
    """Return the names of a dotted path.

    Raises:
        ValidationError: It is none: up to 10 names with dots between, each of up to 64 letters, digits and ``_``.
    """
    names = text.split(".") if isinstance(text, str) else []
    if not 1 <= len(names) <= NAMES_MAX or not all(map(_NAME.fullmatch, names)):
        rule = f"up to {NAMES_MAX} names with dots between, each of up to 64 of A-Z a-z 0-9 _ that does not begin with a digit"
        raise ValidationError(f"{field}: {text!r:.80} names no field: {rule}", field=field)
    return tuple(str(name) for name in names)
