"""Forks: runs that share the beginning of another's history."""

import asyncio
from typing import Any

import msgspec

from stepwell import codec
from stepwell.engine.api import ForkRequest
from stepwell.engine.controls import voided_by
from stepwell.engine.created import read_created
from stepwell.engine.hooks import Hooks
from stepwell.engine.sharing import Fork, check_place, last_to_share, share
from stepwell.errors import ConflictError, NotFoundError
from stepwell.execution.failures import recorded_origins
from stepwell.model import Run
from stepwell.progress import StoredEvent
from stepwell.store.base import NewRun, RunRow, Share, Triggered


class Forks(Hooks):
    """A part of ``EmbeddedEngine``."""

    async def fork(self, run_id: str, request: ForkRequest) -> Run[Any]:
        """See ``Engine.fork``."""
        self.here()
        loaded = await self.store.load([run_id])
        if not loaded:
            raise NotFoundError(f"there is no run {run_id!r}")
        row, events = loaded[0].row, loaded[0].events
        try:
            new = await self._forked(row, events, request)
        except msgspec.MsgspecError as error:
            raise ConflictError(f"run {run_id!r} cannot be forked: its history cannot be read ({error})") from None
        done = await self.submit(new)
        assert isinstance(done, Triggered)
        if done.reason == "no_source":
            raise NotFoundError(f"there is no run {run_id!r}")
        if done.reason == "limit":
            raise ConflictError(
                f"run {run_id!r} cannot be forked there: that leaves no room in a history of {row.max_events} events (max_events)"
            )
        if done.reason == "pruned":
            raise ConflictError(f"run id {request.run_id!r} is that of a run which is being removed: try again in a moment")
        if done.reason not in ("created", "same"):
            raise ConflictError(f"run id {request.run_id!r} is taken")
        self.want_runs()
        run = await self.get_run(request.run_id)
        return msgspec.structs.replace(run, created=done.reason == "created")

    async def _forked(self, row: RunRow, events: list[StoredEvent], request: ForkRequest) -> NewRun:
        now, voided, runs = self.store.now_ms(), list[str](), list[str]()
        seq = last_to_share(events) if request.from_event is None else check_place(row.run_id, events, request.from_event)
        if request.from_event is None and events[-1].type == "run_failed":
            voided, runs = voided_by(events[:seq], recorded_origins(events[-1].payload))
        await self.have_key()
        fork = Fork(request.run_id, row.run_id, seq, request.input, now)
        # Thousands of events may have to be read.
        shared = await asyncio.to_thread(share, fork, events[:seq], voided=voided, runs=runs, token=self.hook_tokens.token)
        return _new_run(row, shared, request, now)


def _new_run(row: RunRow, shared: Share, request: ForkRequest, now_ms: int) -> NewRun:
    created = read_created(shared.rewritten[0].payload)
    version = row.version if request.version is None else request.version
    # What tells this fork from any other, and from a run that was triggered under its id.
    told = [row.run_id, request.from_event, codec.canonical_hash(created.input_text), version]
    identity = codec.encode(told, field="fork")
    return NewRun(
        run_id=request.run_id, workflow=row.workflow, version=version, input_hash=codec.canonical_hash(identity),
        idempotency_key=None, parent_run_id=None, tags=row.tags, priority=row.priority, at_ms=now_ms, due_ms=now_ms,
        max_events=row.max_events, timeout_ms=row.timeout_ms, created=shared.rewritten[0].payload, claim=False, share=shared,
    )  # fmt: skip
