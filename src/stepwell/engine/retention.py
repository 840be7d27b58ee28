"""Removing runs that are over: first as tombstones, which nobody sees any more, then for good.

Any number of processes may be at it. One that is stopped midway leaves tombstones; whoever comes next goes on with these.
"""

from collections.abc import AsyncIterator

import msgspec

from stepwell.engine.access import Access
from stepwell.engine.keeping import OldRuns, Removed
from stepwell.engine.pruning import AT_ONCE, BEFORE_ALL, Page, mark, sorted_out, sweep
from stepwell.model import STATUSES
from stepwell.store.retention import Swept


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
        async for swept in sweep(self):
            yield (total := _more(total, swept))
        async for found in self._old(which):
            marked = await mark(self, found.runs, which.before_ms)
            yield (total := msgspec.structs.replace(total, marked=total.marked + marked, held=total.held + found.held))
            if marked:
                async for swept in sweep(self):
                    yield (total := _more(total, swept))

    async def _old(self, which: OldRuns) -> AsyncIterator[Page]:
        """Walk through the runs that may go, some at a time."""
        for status in which.statuses:
            after = BEFORE_ALL
            while page := await self.store.prunable(STATUSES.index(status), which.before_ms, after, AT_ONCE):
                wanted = [
                    run for run in page if run.completed_at < which.before_ms and which.workflow_name in (None, run.workflow)
                ]
                yield await sorted_out(self.store, wanted)
                after = (page[-1].created_at, page[-1].run_id)


def _more(total: Removed, swept: Swept) -> Removed:
    return msgspec.structs.replace(total, runs=total.runs + swept.runs, rows=total.rows + swept.rows)
