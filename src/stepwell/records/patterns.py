"""What ``~`` looks for: a text, in which ``%`` stands for any text. Letters of ASCII match in either case."""

import re
from typing import Final

PATTERN_LENGTH_MAX: Final = 128

_WILD: Final = re.compile(r"(?<!\\)%+")
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def pieces(text: str) -> list[str]:
    r"""Return what must be found, in order, with any text between two pieces. "" first or last: any text may come there.

    A text without ``%`` may stand anywhere. ``\%`` is a percent sign; any other backslash stands for itself.
    """
    parts = [part.replace(r"\%", "%") for part in _WILD.split(text)]
    return ["", *parts, ""] if len(parts) == 1 else parts


def matches(parts: list[str], found: str) -> bool:
    """Tell whether a text has these pieces."""
    text = _folded(found)
    first, *middle, last = map(_folded, parts)
    if not text.startswith(first):
        return False
    place = len(first)
    for piece in middle:
        place = text.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return len(text) - place >= len(last) and text.endswith(last)


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_LOWER)
