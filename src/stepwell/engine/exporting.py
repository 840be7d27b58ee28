"""Everything that is kept of runs, as it was at one moment, one thing after the other."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from stepwell import codec
from stepwell.durations import from_ms
from stepwell.engine.api import RunFilter
from stepwell.engine.keeping import Signal, Unreadable
from stepwell.engine.present import event_of
from stepwell.engine.reading import query_of
from stepwell.engine.retention import Retention
from stepwell.errors import NotFoundError
from stepwell.failpoints import failpoint
from stepwell.model import Event, Run
from stepwell.progress import Message
from stepwell.store.base import Snapshot, StoredRun

_RUNS_AT_ONCE: Final = 20
_ROWS_AT_ONCE: Final = 200


class Exporting(Retention):
    """A part of ``EmbeddedEngine``. With it, ``Keeper`` is implemented."""

    async def export(self, only: RunFilter, run_ids: Sequence[str]) -> AsyncIterator[Run[Any] | Event | Signal | Unreadable]:
        """See ``Keeper.export``."""
        self.here()
        async with self.store.snapshot() as snapshot:
            async for stored in _chosen(snapshot, only, run_ids):
                failpoint("export.run")
                try:
                    async for each in self._all_of(snapshot, stored):
                        yield each
                except (msgspec.MsgspecError, ValueError) as error:
                    yield Unreadable(run_id=stored.row.run_id, reason=str(error))

    async def _all_of(self, snapshot: Snapshot, stored: StoredRun) -> AsyncIterator[Run[Any] | Event | Signal]:
        row = stored.row
        yield await self.shown(stored)
        seq = 0
        while seq < row.seq and (events := await snapshot.events(row.run_id, seq, _ROWS_AT_ONCE)):
            for event in events:
                yield event_of(row.run_id, event)
            seq = events[-1].seq
        number = 0
        while number < row.mailbox_seq and (mail := await snapshot.mail(row.run_id, number, _ROWS_AT_ONCE)):
            for message in mail:
                if message.kind == "signal":
                    yield _signal(row.run_id, message, received=message.mailbox_seq <= row.mailbox_consumed)
            number = mail[-1].mailbox_seq


async def _chosen(snapshot: Snapshot, only: RunFilter, run_ids: Sequence[str]) -> AsyncIterator[StoredRun]:
    if run_ids:
        found = [await snapshot.find_run(run_id) for run_id in run_ids]
        missing = [run_id for run_id, stored in zip(run_ids, found, strict=True) if stored is None]
        if missing:
            raise NotFoundError(f"there is no run {missing[0]!r}")
        for stored in found:
            assert stored is not None
            yield stored
        return
    before = None
    whole = msgspec.structs.replace(only, include=("input", "output"))
    while page := await snapshot.list_runs(query_of(whole, before, _RUNS_AT_ONCE)):
        for stored in page:
            yield stored
        before = (page[-1].row.created_at, page[-1].row.run_id)


def _signal(run_id: str, message: Message, *, received: bool) -> Signal:
    return Signal(
        signal_id=message.message_id, run_id=run_id, name=message.name, payload=codec.decode(message.payload), received=received,
        created_at=from_ms(message.at_ms),
    )  # fmt: skip
