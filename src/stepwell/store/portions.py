"""How much of histories is read at once, whatever the database. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from stepwell.store.base import RunRow

EVENTS_AT_ONCE: Final = 500


def stretches(rows: Sequence[RunRow]) -> Iterator[list[tuple[str, int, int]]]:
    """Divide histories into portions that are not too large for one answer."""
    portion: list[tuple[str, int, int]] = []
    size = 0
    for row in rows:
        for start in range(0, row.seq, EVENTS_AT_ONCE):
            end = min(start + EVENTS_AT_ONCE, row.seq)
            if portion and size + end - start > EVENTS_AT_ONCE:
                yield portion
                portion, size = [], 0
            portion.append((row.run_id, start, end))
            size += end - start
    if portion:
        yield portion
