"""Removing runs, a portion a commit: what pruning by hand and by itself have in common."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol

from stepwell.settings import Settings
from stepwell.store.base import Operation, Store
from stepwell.store.pruning import is_held
from stepwell.store.retention import Prunable, Prune, Sweep, Swept

AT_ONCE = 500
BEFORE_ALL = (-1, "")


class Pruning(Protocol):
    """The node, as who removes its runs sees it."""

    settings: Settings
    store: Store

    async def submit(self, operation: Operation) -> Any: ...


class Page(NamedTuple):
    """Runs that are old enough: those that may go, and how many stay because somebody may ask for them."""

    runs: list[Prunable]
    held: int


async def sorted_out(store: Store, runs: Sequence[Prunable]) -> Page:
    """Tell which of these runs may go."""
    parents = await store.statuses([run.parent_run_id for run in runs if run.parent_run_id is not None])
    free = [run for run in runs if not is_held(parents.get(run.parent_run_id or ""), is_waited_for=bool(run.is_waited_for))]
    return Page(free, len(runs) - len(free))


async def mark(node: Pruning, runs: Sequence[Prunable], before_ms: int) -> int:
    """Make tombstones of them, as far as they still may go; return of how many."""
    pairs = [(run.run_id, run.parent_run_id) for run in runs]
    marked: Sequence[str] = await node.submit(Prune(runs=pairs, before_ms=before_ms)) if pairs else ()
    return len(marked)


async def sweep(node: Pruning) -> AsyncIterator[Swept]:
    """Remove what tombstones stand for, and tell how far it is after each commit."""
    while True:
        swept: Swept = await node.submit(Sweep(rows_max=node.settings.prune_rows_max))
        yield swept
        if not swept.more:
            return
