"""What clients read of runs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from stepwell.durations import from_ms
from stepwell.engine.api import RunFilter
from stepwell.engine.node import Node
from stepwell.engine.present import cursor_of, event_of, read_cursor, run_of
from stepwell.errors import NotFoundError
from stepwell.model import STATUSES, Event, Page, Run, WaitingFor
from stepwell.store.base import OVER_FROM, PENDING, RunQuery, RunRow, StoredRun

_EVENTS_AT_ONCE: Final = 1_000


def query_of(only: RunFilter, before: tuple[int, str] | None, limit: int) -> RunQuery:
    """Return what to ask of the store: the runs behind one that was made at a time and has an id."""
    return RunQuery(
        workflow=only.workflow_name, status=None if only.status is None else STATUSES.index(only.status),
        parent_run_id=only.parent_run_id, tags=only.tags,
        created_after=None if only.created_after is None else int(only.created_after.timestamp() * 1000),
        created_before=None if only.created_before is None else int(only.created_before.timestamp() * 1000),
        before=before, limit=limit, with_input="input" in only.include, with_output="output" in only.include,
    )  # fmt: skip


class Reading(Node):
    """A part of ``EmbeddedEngine``."""

    async def get_run(self, run_id: str) -> Run[Any]:
        """See ``Engine.get_run``."""
        self.here()
        stored = await self.store.find_run(run_id)
        if stored is None:
            raise NotFoundError(f"there is no run {run_id!r}")
        return await self.shown(stored)

    async def shown(self, stored: StoredRun) -> Run[Any]:
        """Return a run as users see it."""
        run = run_of(stored)
        row = stored.row
        if row.status == PENDING and row.waiting_for is None:
            return await self._pending(run, row)
        return run

    async def _pending(self, run: Run[Any], row: RunRow) -> Run[Any]:
        if row.wake_at is not None and row.wake_at > self.store.now_ms():
            return msgspec.structs.replace(run, waiting_for=WaitingFor(kind="sleep", name="start", until=from_ms(row.wake_at)))
        if not self.knows(row.workflow, row.version) and not await self.store.knows_worker(row.workflow, row.version):
            return msgspec.structs.replace(run, waiting_for=WaitingFor(kind="worker", name=row.workflow))
        return run

    async def get_runs(self, only: RunFilter, limit: int, cursor: str | None) -> Page[Run[Any]]:
        """See ``Engine.get_runs``."""
        self.here()
        before = None if cursor is None else read_cursor(cursor, only)
        found = await self.store.list_runs(query_of(only, before, limit + 1))
        more = len(found) > limit
        items = [await self.shown(stored) for stored in found[:limit]]
        return Page(items, cursor_of(found[limit - 1].row, only) if more else None)

    async def wait(self, run_id: str, timeout_s: float | None) -> Run[Any]:
        """See ``Engine.wait``."""
        self.here()
        async with asyncio.timeout(timeout_s):
            while True:
                over = self.watchers.for_end(run_id)
                try:
                    # Of a run that is held here this node itself will write the end.
                    stored = await over if self.holder(run_id) is not None else None
                    run = await (self.get_run(run_id) if stored is None else self.shown(stored))
                    if run.is_over:
                        return run
                    stored = await over
                    if stored is not None:
                        return await self.shown(stored)
                finally:
                    self.watchers.forget(run_id, over)

    async def get_events(self, run_id: str, after: int, limit: int | None) -> list[Event]:
        """See ``Engine.get_events``."""
        self.here()
        if await self.store.find_run(run_id) is None:
            raise NotFoundError(f"there is no run {run_id!r}")
        events: list[Event] = []
        while limit is None or len(events) < limit:
            room = _EVENTS_AT_ONCE if limit is None else min(_EVENTS_AT_ONCE, limit - len(events))
            chunk = await self.store.events(run_id, after, room)
            events.extend(event_of(run_id, event) for event in chunk)
            if len(chunk) < room:
                break
            after = chunk[-1].seq
        return events

    async def stream_events(self, run_id: str, after: int) -> AsyncIterator[Event]:
        """See ``Engine.stream_events``."""
        while True:
            self.here()
            moved = self.watchers.for_move(run_id)
            try:
                stored = await self.store.find_run(run_id)
                if stored is None:
                    raise NotFoundError(f"there is no run {run_id!r}")
                events = await self.get_events(run_id, after, None)
                for event in events:
                    after = event.seq
                    yield event
                if stored.row.status >= OVER_FROM and after >= stored.row.seq:
                    return
                if not events:
                    await moved
            finally:
                self.watchers.forget(run_id, moved)
