"""Who waits for what becomes of runs: for their end, or for their next event."""

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

from stepwell.store.base import StoredRun

T = TypeVar("T")


class Watchers:
    """Futures by run id. Being told is a hint: who is told reads the store, unless the run itself comes with it."""

    def __init__(self) -> None:
        self._over: dict[str, set[asyncio.Future[StoredRun | None]]] = {}
        self._moved: dict[str, set[asyncio.Future[None]]] = {}

    def for_end(self, run_id: str) -> "asyncio.Future[StoredRun | None]":
        """Return what is done when the run may be over: with the run as it ended, or None."""
        return _add(self._over, run_id)

    def for_move(self, run_id: str) -> "asyncio.Future[None]":
        """Return what is done when the run may have new events."""
        return _add(self._moved, run_id)

    def forget(self, run_id: str, future: "asyncio.Future[StoredRun | None] | asyncio.Future[None]") -> None:
        """Nobody waits for this any more."""
        _forget(self._over, run_id, future)
        _forget(self._moved, run_id, future)

    @property
    def awaited(self) -> list[str]:
        """Runs whose end is waited for."""
        return list(self._over)

    def is_awaited(self, run_id: str) -> bool:
        """Whether the end of this run is waited for."""
        return run_id in self._over

    def moved(self, run_id: str) -> None:
        """The run has new events."""
        if run_id in self._moved:
            _tell(self._moved, run_id, None)

    def over(self, run_id: str, stored: StoredRun | None = None) -> None:
        """The run has ended; ``stored`` is how, if that is known."""
        if run_id in self._over:
            _tell(self._over, run_id, stored)
        self.moved(run_id)

    def all_moved(self) -> None:
        """Any run may have new events."""
        for run_id in list(self._moved):
            _tell(self._moved, run_id, None)

    def everything(self) -> None:
        """Whatever anybody waits for may be."""
        self.all_over(self.awaited)
        self.all_moved()

    def all_over(self, run_ids: Iterable[str]) -> None:
        """These have ended."""
        for run_id in run_ids:
            self.over(run_id)


def _add(waiting: "dict[str, set[asyncio.Future[T]]]", run_id: str) -> "asyncio.Future[T]":
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    waiting.setdefault(run_id, set()).add(future)
    return future


def _forget(waiting: "dict[str, set[asyncio.Future[T]]]", run_id: str, future: "asyncio.Future[Any]") -> None:
    futures = waiting.get(run_id)
    if futures is not None:
        futures.discard(future)
        if not futures:
            del waiting[run_id]


def _tell(waiting: "dict[str, set[asyncio.Future[T]]]", run_id: str, what: T) -> None:
    for future in waiting.pop(run_id):
        if not future.done():
            future.set_result(what)
