"""Lists that fit into an answer: a page ends before its limit where its items are large."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias, TypeVar

from stepwell.server.answers import Answer, encode

T = TypeVar("T")
Fetch: TypeAlias = Callable[[str | None, int], Awaitable[tuple[Sequence[T], str | None]]]
"""Return some items behind a cursor, and the cursor behind them; None if there are no more."""

_FIRST: Final = 4
"""So many are asked for at first, and ever more while they are small: a hundred of the largest would fill the memory."""


async def page(fetch: Fetch[T], cursor: str | None, limit: int, *, bytes_max: int) -> Answer:
    """Return up to ``limit`` items, fewer if they have more than ``bytes_max``; never none if there is one."""
    parts: list[bytes] = []
    size, at_once = 0, _FIRST
    while len(parts) < limit and size < bytes_max:
        items, cursor = await fetch(cursor, min(at_once, limit - len(parts)))
        for item in items:
            parts.append(encode(item))
            size += len(parts[-1])
        if cursor is None:
            break
        if size * 4 < bytes_max:
            at_once *= 4
    return Answer(200, b'{"items":[' + b",".join(parts) + b'],"nextCursor":' + encode(cursor) + b"}")
