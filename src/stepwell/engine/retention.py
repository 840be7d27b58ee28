"""Removing runs that are over: first as tombstones, which nobody sees any more, then for good.

Any number of processes may be at it. One that is stopped midway leaves tombstones; whoever comes next goes on with these.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import msgspec

from stepwell.engine.access import Access
from stepwell.engine.keeping import OldRuns, Removed
from stepwell.model import STATUSES
from stepwell.store.pruning import is_held
from stepwell.store.retention import Prunable, Prune, Sweep, Swept

_AT_ONCE: Final = 500
_BEFORE_ALL: Final = (-1, "")


class _Found(NamedTuple):
    runs: list[Prunable]
    held: int


class Retention(Access):
    """A part of ``EmbeddedEngine``."""

    async def count_old(self, which: OldRuns) -> tuple[int, int]:
        """See ``Keeper.count_old``."""
        self.here()
        runs = held = 0
        async for found in self._old(which):
            runs += len(found.runs)
            held += found.held
        return runs, held

    async def prune(self, which: OldRuns) -> AsyncIterator[Removed]:
        """See ``Keeper.prune``."""
        self.here()
        total = Removed()
        # What others have left goes first: it is in nobody's count, and its ids and keys are taken.
        async for swept in self._sweep():
            yield (total := _more(total, swept))
        async for found in self._old(which):
            pairs = [(run.run_id, run.parent_run_id) for run in found.runs]
            marked: Sequence[str] = await self.submit(Prune(runs=pairs, before_ms=which.before_ms)) if pairs else ()
            yield (total := msgspec.structs.replace(total, marked=total.marked + len(marked), held=total.held + found.held))
            if marked:
                async for swept in self._sweep():
                    yield (total := _more(total, swept))

    async def _sweep(self) -> AsyncIterator[Swept]:
        while True:
            swept: Swept = await self.submit(Sweep(rows_max=self.settings.prune_rows_max))
            yield swept
            if not swept.more:
                return

    async def _old(self, which: OldRuns) -> AsyncIterator[_Found]:
        """Walk through the runs that may go, some at a time."""
        for status in which.statuses:
            after = _BEFORE_ALL
            while page := await self.store.prunable(STATUSES.index(status), which.before_ms, after, _AT_ONCE):
                wanted = [
                    run for run in page if run.completed_at < which.before_ms and which.workflow_name in (None, run.workflow)
                ]
                parents = await self.store.statuses([run.parent_run_id for run in wanted if run.parent_run_id is not None])
                free = [
                    run
                    for run in wanted
                    if not is_held(parents.get(run.parent_run_id or ""), is_waited_for=bool(run.is_waited_for))
                ]
                yield _Found(free, len(wanted) - len(free))
                after = (page[-1].created_at, page[-1].run_id)


def _more(total: Removed, swept: Swept) -> Removed:
    return msgspec.structs.replace(total, runs=total.runs + swept.runs, rows=total.rows + swept.rows)
