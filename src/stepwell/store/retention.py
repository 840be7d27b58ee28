"""Removing runs that are over: the operations, and the rows that tell which runs they may be about."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec


class Prunable(NamedTuple):
    """A run that may be old enough to be removed."""

    run_id: str
    workflow: str
    created_at: int
    completed_at: int
    parent_run_id: str | None
    is_waited_for: int
    """1 if somebody waits for it."""


class KeepFor(msgspec.Struct, kw_only=True):
    """Note how long runs are kept once they are over, as the workers of their workflow and version say. Outcome: None.

    ``said`` are ``(workflow, version, ms)``, each workflow and version once; None for ever.
    """

    said: Sequence[tuple[str, str, int | None]]


class Prune(msgspec.Struct, kw_only=True):
    """Make tombstones of runs that ended before a time, if nobody waits for them and their parent does not go on.

    ``runs`` are ``(run_id, parent_run_id)``. What is left of a tombstone goes with ``Sweep``. Outcome: ``list[str]``, the ids of
    those that are tombstones now.
    """

    runs: Sequence[tuple[str, str | None]]
    before_ms: int

    def run_ids(self) -> list[str]:
        return [run_id for pair in self.runs for run_id in pair if run_id is not None]


class Sweep(msgspec.Struct, kw_only=True):
    """Remove what tombstones stand for, whoever made them, and in the end them: at most ``rows_max`` rows. Outcome: ``Swept``."""

    rows_max: int


class Swept(NamedTuple):
    """How many runs are gone for good, how many rows that took with what was removed of others, and whether more is left."""

    runs: int
    rows: int
    more: bool
