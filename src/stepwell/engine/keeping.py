"""What is done to a store as a whole, beside the runs of an ``Engine``: old runs are removed, all is written out."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import msgspec

from stepwell.engine.access_calls import KeyBook
from stepwell.engine.api import RunFilter
from stepwell.model import Event, Run, Status


class OldRuns(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to remove: those that ended before a time, with one of these statuses, all of them final."""

    before_ms: int
    statuses: Sequence[Status] = ("completed", "failed", "cancelled")
    workflow_name: str | None = None


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How far a removal of runs has come."""

    marked: int = 0
    """Runs that nobody sees any more."""
    runs: int = 0
    """Runs of which nothing is left, those that an earlier removal had marked included."""
    rows: int = 0
    """Rows that were removed: events, messages, and the runs themselves."""
    held: int = 0
    """Runs that stay, because somebody waits for them or their parent is not over."""


class Signal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A signal that was sent to a run, and whether it is in its history by now."""

    signal_id: str
    run_id: str
    name: str
    payload: Any
    received: bool
    created_at: datetime


class Unreadable(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something of this run cannot be read: it was edited by hand, or is damaged. The rest of it is left out."""

    run_id: str
    reason: str


@runtime_checkable
class Keeper(KeyBook, Protocol):
    """What is done to a store as a whole. An engine that is itself behind a server has no say in it."""

    async def count_old(self, which: OldRuns) -> tuple[int, int]:
        """Count the runs that would be removed, and those that would stay although they are old: somebody waits for them, or
        their parent is not over."""
        ...

    def prune(self, which: OldRuns) -> AsyncIterator[Removed]:
        """Remove runs for good, their histories, messages, hooks and idempotency keys with them. Yields how far it is.

        A run that is being removed is not found any more, and its id and key are taken until it is gone. Safe while other
        processes do the same or work. What was begun and not finished goes first, whatever is asked for.
        """
        ...

    def export(self, only: RunFilter, run_ids: Sequence[str]) -> AsyncIterator[Run[Any] | Event | Signal | Unreadable]:
        """Yield all that is kept of runs, as it was at one moment: each run with input and output, then its events, then its
        signals. If ids are given, of those; else of those that ``only`` names, newest first.

        Raises:
            NotFoundError: There is no such run.
        """
        ...
