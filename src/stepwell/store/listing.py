"""Which runs a list shows, as a condition; and where to look for them. The same for all databases. Pure.

A list reads one index from its end, so it must be that of what is rare. Statistics that tell are not kept everywhere, and nowhere
of what has just come; so it is counted how many runs have a tag, or a status, as far as that matters.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from stepwell.store.base import RunQuery

_COUNTED_MAX: Final = 1_000
"""Of things that so many runs have any will do: what has two of them is found soon."""
_HAS_TAG: Final = "1 = (SELECT count(*) FROM run_tags AS also WHERE also.run_id = runs.run_id AND also.tag = ?)"
"""Not EXISTS: that PostgreSQL may turn around, and read all runs that have the tag."""


class Count(NamedTuple):
    """A statement that counts runs, and its parameters."""

    name: str
    parameters: tuple[str | int, ...]


class Listing(NamedTuple):
    """A statement that lists runs; the condition that goes into it, with ``?`` for each parameter; and these."""

    name: str
    where: str
    parameters: list[str | int]


def to_count(query: RunQuery) -> list[Count]:
    """Return what to count before: each tag, then the status; nothing if there is only one way to look."""
    counts = [Count("count_tagged", (tag, _COUNTED_MAX)) for tag in query.tags]
    if counts and query.status is not None:
        counts.append(Count("count_of_status", (query.status, _COUNTED_MAX)))
    return counts if len(counts) > 1 else []


def listing(query: RunQuery, counted: Sequence[int]) -> Listing:
    """Return how to list these runs, once it is known how many have what was ``to_count``."""
    tags = list(query.tags)
    rarest = counted.index(min(counted)) if counted else 0
    conditions: list[str] = []
    parameters: list[str | int] = []

    def where(condition: str, *values: str | int) -> None:
        conditions.append(condition)
        parameters.extend(values)

    by_tag = rarest < len(tags)
    if by_tag:
        where("tag = ?", tags.pop(rarest))
    at, run_id = ("tagged_at", "tagged_id") if by_tag else ("created_at", "run_id")
    if query.parent_run_id is not None:
        where("parent_run_id = ?", query.parent_run_id)
    if query.workflow is not None:
        where("workflow = ?", query.workflow)
    if query.status is not None:
        where("status = ?", query.status)
    if query.created_after is not None:
        where(f"{at} >= ?", query.created_after)
    if query.created_before is not None:
        where(f"{at} < ?", query.created_before)
    if query.before is not None:
        where(f"({at}, {run_id}) < (?, ?)", *query.before)
    for tag in tags:
        where(_HAS_TAG, tag)
    return Listing("list_tagged" if by_tag else "list_runs", " AND ".join(conditions or ["1 = 1"]), parameters)
