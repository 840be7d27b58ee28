"""What a batch has done that others should know of, gathered while it is carried out."""

from collections.abc import Sequence

from stepwell.store import drafts
from stepwell.store.base import RunRow
from stepwell.store.drafts import Draft, Page
from stepwell.store.hints import Hint


class Telling:
    """Makes the hint of one batch."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._of_others: dict[str, str] = {}
        """Runs of other nodes, with these."""
        self._owners: set[str] = set()
        self._lanes: set[tuple[str, str]] = set()
        self._is_due = self._is_later = self._is_put_off = False

    def read(self, runs: Sequence[Draft]) -> None:
        """Note whose runs these are, before anything is done to them."""
        for run in runs:
            if run.owner is not None and run.owner != self._page.node_id:
                self._of_others[run.run_id] = run.owner

    def added(self, rows: Sequence[RunRow]) -> None:
        """Note that runs were added."""
        for row in rows:
            if row.owner is None and row.wake_at is not None:
                if row.wake_at <= self._page.now_ms:
                    self._lanes.add((row.workflow, row.version))
                else:
                    self._is_later = True

    def moved(self) -> None:
        """Note what was done to runs since they were written last, before they are written."""
        page, of_others = self._page, self._of_others
        for run in page.runs.values():
            if run.changed != drafts.MOVED:
                continue
            if run.run_id in of_others:
                self._owners.add(of_others[run.run_id])
            if drafts.is_due(run, page.now_ms):
                self._is_due = True
            elif run.owner is None:
                self._is_put_off = True

    def hint(self, collections: Sequence[str], *, has_workers: bool) -> Hint:
        """Return what others should know; ``collections`` are those whose records were written."""
        return Hint(
            lanes=None if self._is_due else frozenset(self._lanes),
            is_later=self._is_later or (self._is_put_off and not has_workers),
            owners=frozenset(self._owners),
            has_ended=bool(self._page.ended),
            has_records=bool(collections),
        )
