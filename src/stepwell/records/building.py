"""Filters with values put in safely: ``status = {:status}``."""

import math
import re
from datetime import datetime
from typing import Final

import msgspec

from stepwell.durations import to_ms
from stepwell.errors import ValidationError
from stepwell.records.moments import shown

_PLACE: Final = re.compile(r"\{:([A-Za-z_][A-Za-z0-9_]*)\}")


def build(template: str, values: "dict[str, object]") -> str:
    """Return the filter with each ``{:name}`` replaced by its value, quoted so that it can be nothing but a value.

    Raises:
        ValidationError: A place has no value, or a value no place, or it is nothing that a field is compared with. ``field`` is
            its name.
    """
    names = set(_PLACE.findall(template))
    for name in sorted(names ^ values.keys()):
        problem = "has no value" if name in names else "has no place in the filter"
        raise ValidationError(f"filter: {{:{name}}} {problem}", field=name)
    return _PLACE.sub(lambda found: _literal(found[1], values[found[1]]), template)


def _literal(name: str, value: object) -> str:
    if isinstance(value, datetime):
        to_ms(value, field=name)  # refuses one that says no zone
        value = shown(value)
    is_plain = value is None or isinstance(value, bool | str | int) or (isinstance(value, float) and math.isfinite(value))
    if is_plain:
        # JSON's texts, numbers and names are the filter's, too.
        return msgspec.json.encode(value).decode()
    raise ValidationError(
        f"filter: {name} must be None, a bool, a number, a text or a datetime, not {type(value).__name__}", field=name
    )
