"""Who waits for what becomes of runs: for their end, or for their next event."""

import asyncio
from collections.abc import Iterable


class Watchers:
    """Futures by run id. Being told is a hint: who is told reads the store."""

    def __init__(self) -> None:
        self._over: dict[str, set[asyncio.Future[None]]] = {}
        self._moved: dict[str, set[asyncio.Future[None]]] = {}

    def for_end(self, run_id: str) -> "asyncio.Future[None]":
        """Return what is done when the run may be over."""
        return _add(self._over, run_id)

    def for_move(self, run_id: str) -> "asyncio.Future[None]":
        """Return what is done when the run may have new events."""
        return _add(self._moved, run_id)

    def forget(self, run_id: str, future: "asyncio.Future[None]") -> None:
        """Nobody waits for this any more."""
        for waiting in (self._over, self._moved):
            futures = waiting.get(run_id)
            if futures is not None:
                futures.discard(future)
                if not futures:
                    del waiting[run_id]

    @property
    def awaited(self) -> list[str]:
        """Runs whose end is waited for."""
        return list(self._over)

    def moved(self, run_id: str) -> None:
        """The run has new events."""
        if run_id in self._moved:
            _tell(self._moved, run_id)

    def over(self, run_id: str) -> None:
        """The run has ended."""
        if run_id in self._over:
            _tell(self._over, run_id)
        self.moved(run_id)

    def all_moved(self) -> None:
        """Any run may have new events."""
        for run_id in list(self._moved):
            _tell(self._moved, run_id)

    def everything(self) -> None:
        """Whatever anybody waits for may be."""
        self.all_over(self.awaited)
        self.all_moved()

    def all_over(self, run_ids: Iterable[str]) -> None:
        """These have ended."""
        for run_id in run_ids:
            self.over(run_id)


def _add(waiting: "dict[str, set[asyncio.Future[None]]]", run_id: str) -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting.setdefault(run_id, set()).add(future)
    return future


def _tell(waiting: "dict[str, set[asyncio.Future[None]]]", run_id: str) -> None:
    for future in waiting.pop(run_id):
        if not future.done():
            future.set_result(None)
