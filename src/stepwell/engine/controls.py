"""What clients do to runs: cancel, pause, resume, retry, repair."""

from typing import Any, Final

import msgspec

from stepwell import codec
from stepwell.engine.api import UpdateRequest
from stepwell.engine.reading import Reading
from stepwell.errors import ConflictError, NotFoundError
from stepwell.execution.failures import recorded_origins
from stepwell.execution.identity import is_compensation
from stepwell.model import Run
from stepwell.progress import NewEvent, StoredEvent
from stepwell.store.base import (
    FAILED,
    OVER_FROM,
    Amend,
    Cancel,
    Cancelled,
    Operation,
    Pause,
    Resume,
    Retry,
    RunRow,
    Stored,
    Update,
)

_OUTCOMES: Final = {"step_completed", "step_failed", "step_interrupted"}
_RUN: Final = "run:"


class _Waited(msgspec.Struct, rename="camel"):
    class _Result(msgspec.Struct, rename="camel"):
        run_id: str = ""

    result: _Result | None = None


class Controls(Reading):
    """A part of ``EmbeddedEngine``."""

    async def cancel(self, run_id: str, reason: str | None, children: bool) -> Run[Any]:
        """See ``Engine.cancel``."""
        self.here()
        payload = codec.encode({"reason": reason}, field="reason")
        request = Cancel(run_id=run_id, reason=reason, payload=payload, at_ms=self.store.now_ms(), children=children)
        done = await self.submit(request)
        assert isinstance(done, Cancelled)
        if done.reason == "missing":
            raise NotFoundError(f"there is no run {run_id!r}")
        if done.reason == "cancelled":
            self.claims.arriving.discard(run_id)
            session = self.holder(run_id)
            if session is not None:
                session.interrupt(run_id, "cancelled")
            self.watchers.over(run_id)
        self.watchers.moved(run_id)
        return await self.get_run(run_id)

    async def _asked(self, run_id: str, request: Operation) -> Stored:
        self.here()
        stored = await self.submit(request)
        assert isinstance(stored, Stored)
        if stored.reason == "missing":
            raise NotFoundError(f"there is no run {run_id!r}")
        self.watchers.moved(run_id)
        return stored

    async def pause(self, run_id: str) -> Run[Any]:
        """See ``Engine.pause``."""
        request = Pause(run_id=run_id, reason="somebody asked for it", at_ms=self.store.now_ms())
        stored = await self._asked(run_id, request)
        run = await self.get_run(run_id)
        if stored.reason == "over":
            raise ConflictError(f"run {run_id!r} is {run.status} and cannot be paused")
        return run

    async def update_run(self, run_id: str, update: UpdateRequest) -> Run[Any]:
        """See ``Engine.update_run``."""
        request = Update(
            run_id=run_id, tags=None if update.tags is None else codec.encode(update.tags, field="tags"),
            priority=update.priority, max_events=update.max_events, timeout_ms=update.execution_timeout_ms,
            at_ms=self.store.now_ms(),
        )  # fmt: skip
        stored = await self._asked(run_id, request)
        run = await self.get_run(run_id)
        if stored.reason == "over":
            raise ConflictError(f"run {run_id!r} is {run.status}: only its tags can be changed")
        if stored.reason == "undoing":
            raise ConflictError(f"run {run_id!r} is being undone: only its tags can be changed")
        if stored.reason == "limit":
            raise ConflictError(f"run {run_id!r} has {stored.seq} events already: max_events cannot be {update.max_events}")
        if update.execution_timeout_ms is not None:
            self.pulse()  # it knows of all deadlines, and looks when the next is
        return run

    async def resume(self, run_id: str) -> Run[Any]:
        """See ``Engine.resume``."""
        stored = await self._asked(run_id, Resume(run_id=run_id, payload="{}", at_ms=self.store.now_ms()))
        run = await self.get_run(run_id)
        if stored.reason == "not_paused":
            raise ConflictError(f"run {run_id!r} is not paused, it is {run.status}")
        self.want_runs()
        return run

    async def retry(self, run_id: str) -> Run[Any]:
        """See ``Engine.retry``."""
        self.here()
        stored = await self.store.find_run(run_id)
        if stored is None:
            raise NotFoundError(f"there is no run {run_id!r}")
        row = stored.row
        if row.status != FAILED or stored.final is None:
            raise ConflictError(
                f"run {run_id!r} cannot be retried: it has not failed, it is {(await self.get_run(run_id)).status}"
            )
        if row.parent_run_id is not None and await self._is_over(row.parent_run_id):
            raise ConflictError(f"run {run_id!r} cannot be retried: its parent {row.parent_run_id!r} is over")
        done = await self._asked(run_id, await self._retry_of(row, stored.final.payload, {run_id}))
        if done.reason == "compensated":
            raise ConflictError(f"run {run_id!r} cannot be retried: its compensations have run; fork it instead")
        if done.reason == "limit":
            raise ConflictError(f"run {run_id!r} cannot be retried: its history has reached max_events ({row.max_events})")
        if done.reason != "stored":
            raise ConflictError(f"run {run_id!r} was retried by somebody else")
        self.want_runs()
        return await self.get_run(run_id)

    async def _retry_of(self, row: RunRow, final: str, known: set[str]) -> Retry:
        """Return the retry of a failed run, along with those of the runs that its failure came from, but for ``known`` ones."""
        events = await self._stored_events(row.run_id)
        voided, runs = voided_by(events, recorded_origins(final))
        along: list[Retry] = []
        for run_id in runs:
            stored = await self.store.find_run(run_id)
            if run_id in known or stored is None or stored.row.status != FAILED or stored.final is None:
                continue  # it is over by now in another way, or goes on already: its end is taken as it comes
            parent = stored.row.parent_run_id
            if parent is None or parent in known or not await self._is_over(parent):
                known.add(run_id)
                along.append(await self._retry_of(stored.row, stored.final.payload, known))
        voided = list(dict.fromkeys([*voided, *_open_waits(events)]))
        payload = codec.encode({"attempt": row.attempt + 1, "voided": voided, "runs": runs}, field="payload")
        return Retry(run_id=row.run_id, seq=row.seq, payload=payload, at_ms=self.store.now_ms(), along=along)

    async def _is_over(self, run_id: str) -> bool:
        return (await self.store.statuses([run_id])).get(run_id, OVER_FROM) >= OVER_FROM

    async def _stored_events(self, run_id: str) -> list[StoredEvent]:
        (history,) = await self.store.load([run_id])
        return list(history.events)

    async def set_step_result(self, run_id: str, step_id: str, value: str, reason: str) -> Run[Any]:
        """See ``Engine.set_step_result``."""
        self.here()
        stored = await self.store.find_run(run_id)
        if stored is None:
            raise NotFoundError(f"there is no run {run_id!r}")
        before = [event for event in await self._stored_events(run_id) if event.step_id == step_id]
        completes, done_by, inserted = "step_completed", {"step_completed"}, ',"inserted":true'
        if is_compensation(step_id):
            completes, done_by, inserted = "compensation_completed", {"compensation_completed", "compensation_failed"}, ""
        if any(event.type in done_by for event in before):
            raise ConflictError(f"step {step_id!r} of run {run_id!r} is completed already")
        now = self.store.now_ms()
        own = step_id.rpartition("/")[2].partition("#")[0].partition("@")[0]
        name = before[-1].name if before else own.removeprefix("compensate:")
        said = codec.encode(reason, field="reason")
        payload = f'{{"result":{value},"attempt":1,"startedAt":{now},"durationMs":0,"reason":{said}{inserted}}}'
        request = Amend(run_id=run_id, seq=stored.row.seq, event=NewEvent(completes, step_id, name, payload, now))
        done = await self._asked(run_id, request)
        if done.reason == "not_paused":
            raise ConflictError(f"run {run_id!r} is not paused: pause it first")
        if done.reason == "moved":
            raise ConflictError(f"run {run_id!r} has moved meanwhile: look at it again")
        if done.reason == "limit":
            raise ConflictError(f"run {run_id!r} has no room in its history (max_events)")
        return await self.get_run(run_id)


def voided_by(events: list[StoredEvent], origins: list[str]) -> tuple[list[str], list[str]]:
    """Return which outcomes a retry declares void, and the runs whose end it asks for again."""
    steps = {event.step_id for event in events if event.type in _OUTCOMES}
    runs = [origin.removeprefix(_RUN) for origin in origins if origin.startswith(_RUN)]
    voided = [origin for origin in origins if origin in steps]
    for event in events:
        is_wait = event.type == "child_started" and event.name in runs
        if is_wait or (event.name == "workflow.wait" and event.type == "step_completed" and _waited_for(event) in runs):
            voided.append(event.step_id)
    return list(dict.fromkeys(voided)), runs


def _open_waits(events: list[StoredEvent]) -> list[str]:
    """Return the waits for runs that were open when the run ended. They begin anew: a run that is over is not told of the end of
    another, nor is it told later."""
    closed = {event.name for event in events if event.type == "child_completed"}
    ended = {event.step_id for event in events if event.type == "signal_timed_out"}
    waits = (event for event in events if event.type == "child_started" and event.name not in closed)
    return [event.step_id for event in waits if event.step_id not in ended]


def _waited_for(event: StoredEvent) -> str:
    try:
        result = msgspec.json.decode(event.payload, type=_Waited).result
    except msgspec.MsgspecError:
        return ""
    return result.run_id if result is not None else ""
