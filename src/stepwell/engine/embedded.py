"""The engine in this process: what clients ask of a node."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from stepwell import codec
from stepwell.clock import Clock
from stepwell.durations import from_ms
from stepwell.engine.api import InFlight, Session, SignalRequest, TriggerRequest, Worker, WorkerInfo
from stepwell.engine.counting import RunCounts
from stepwell.engine.created import created_payload
from stepwell.engine.explain import explain
from stepwell.engine.exporting import Exporting
from stepwell.engine.hook_tokens import HookTokens
from stepwell.engine.present import run_of, worker_of
from stepwell.engine.records import EmbeddedRecords
from stepwell.engine.session import LocalSession
from stepwell.errors import ConflictError, NotFoundError, StepwellError, UnavailableError
from stepwell.failpoints import counters
from stepwell.model import STATUSES, Event, Run, Stats
from stepwell.progress import Assignment, Message
from stepwell.settings import Settings
from stepwell.store.base import (
    COUNTED_MAX,
    OVER_FROM,
    Emit,
    NewRun,
    Put,
    RunRow,
    Store,
    Stored,
    StoredRun,
    Triggered,
)


class EmbeddedEngine(Exporting):
    """Implements ``Engine``. ``hook_tokens`` makes the tokens of hooks."""

    def __init__(self, store: Store, *, clock: Clock, settings: Settings, hook_tokens: HookTokens) -> None:
        super().__init__(store, clock=clock, settings=settings)
        self.hook_tokens = hook_tokens
        self.records = EmbeddedRecords(self)
        self._counts = RunCounts(store.count_by_status, clock.boot_ms, self._spawn)

    def now_ms(self) -> int:
        """See ``Engine.now_ms``."""
        return self.store.now_ms()

    async def trigger(self, request: TriggerRequest) -> Run[Any]:
        """See ``Engine.trigger``."""
        (run,) = await self.trigger_many([request])
        if isinstance(run, StepwellError):
            raise run
        return run

    async def execute(self, request: TriggerRequest, timeout_s: float | None) -> Run[Any]:
        """See ``Engine.execute``."""
        async with asyncio.timeout(timeout_s):
            run = await self.trigger(request)
            return run if run.is_over else await self.wait(run.run_id, None)

    async def trigger_many(self, requests: Sequence[TriggerRequest]) -> list[Run[Any] | StepwellError]:
        """See ``Engine.trigger_many``."""
        self.here()
        drafts = [self._draft(request) for request in requests]
        try:
            results = await self.submit_all([draft.operation for draft in drafts])
        finally:
            for draft in drafts:
                if draft.session is not None:
                    draft.session.reserved -= 1
        # All are settled before anything is awaited: nobody else gets the room that was kept for them.
        settled = [self._settle(draft, result) for draft, result in zip(drafts, results, strict=True)]
        await asyncio.sleep(0)  # what was assigned goes on first
        return [each if isinstance(each, StepwellError) else await self._made(each) for each in settled]

    async def _made(self, made: "StoredRun | str") -> Run[Any]:
        return await self.get_run(made) if isinstance(made, str) else run_of(made, created=True)

    def _draft(self, request: TriggerRequest) -> "_Draft":
        now, version = self.store.now_ms(), request.version or ""
        due = request.start_at_ms if request.start_at_ms is not None else now + request.delay_ms
        max_events = request.max_events or self.settings.max_events
        seed = secrets.token_hex(8)
        session = self.session_for(request.workflow, version) if due <= now and request.signal is None else None
        operation = NewRun(
            run_id=request.run_id, workflow=request.workflow, version=version, input_hash=codec.canonical_hash(request.input),
            idempotency_key=request.idempotency_key, parent_run_id=request.parent_run_id,
            tags=codec.encode(request.tags, field="tags"), priority=request.priority, at_ms=now, due_ms=due,
            max_events=max_events, timeout_ms=request.execution_timeout_ms,
            created=created_payload(request, seed=seed, max_events=max_events), claim=session is not None,
            signal=None if request.signal is None else _put(request.run_id, request.signal, now),
        )  # fmt: skip
        if session is not None:
            session.reserved += 1
        return _Draft(request, operation, session, seed)

    def _settle(self, draft: "_Draft", result: Triggered) -> StoredRun | StepwellError | str:
        """Set a run going; return it, or its id if it was there before, or what is wrong."""
        request, operation = draft.request, draft.operation
        try:
            row = _triggered(request, result)
        except StepwellError as error:
            return error
        if result.claimed:
            self._assign(draft.session, row, request, draft.seed)
        elif result.reason == "created" and operation.due_ms > operation.at_ms:
            self.timers.at(operation.due_ms)
        elif row.status < OVER_FROM and row.owner is None:
            self.want_runs()
        elif request.signal is not None:
            self.mailed(row.run_id)
        if result.reason == "created":
            return StoredRun(row, operation.created, None)
        return row.run_id

    def _assign(self, session: Any, row: RunRow, request: TriggerRequest, seed: str) -> None:
        assignment = Assignment(
            run_id=row.run_id, turn=row.turn, workflow=row.workflow, version=row.version, attempt=row.attempt,
            parent_run_id=row.parent_run_id, tags=request.tags, input=request.input, seed=seed, max_events=row.max_events,
            seq=row.seq, started_at_ms=row.started_at or row.created_at, deadline_ms=row.deadline, tries=0, mailbox_consumed=0,
            history=(), messages=(),
        )  # fmt: skip
        if row.owner == self.node_id and session in self.sessions and session.is_assigning:
            session.assign(assignment)
        else:
            self.drop(row.run_id, row.turn)

    async def emit_event(self, run_id: str, event_type: str, payload: str, event_id: str) -> Event:
        """See ``Engine.emit_event``."""
        self.here()
        now = self.store.now_ms()
        stored = await self.submit(Emit(run_id=run_id, event_type=event_type, event_id=event_id, payload=payload, at_ms=now))
        assert isinstance(stored, Stored)
        _accepted(run_id, stored, "event")
        self.watchers.moved(run_id)
        return Event(
            event_id=event_id,
            run_id=run_id,
            seq=stored.seq,
            event_type=event_type,
            payload=codec.decode(payload),
            created_at=from_ms(now),
        )

    async def send_signal(self, run_id: str, signal: SignalRequest) -> bool:
        """See ``Engine.send_signal``."""
        self.here()
        put = _put(run_id, signal, self.store.now_ms())
        stored = await self.submit(put)
        assert isinstance(stored, Stored)
        _accepted(run_id, stored, "signal")
        if stored.reason == "duplicate":
            # What counts is the message that was stored, and not this one.
            self.mailed(run_id)
        elif stored.owner == self.node_id:
            self.delivered(run_id, Message(stored.seq, put.kind, put.name, put.message_id, put.payload, put.at_ms))
        elif stored.owner is None:
            self.want_runs()
        return stored.reason != "duplicate"

    async def why(self, run_id: str) -> str:
        """See ``Engine.why``."""
        self.here()
        stored = await self.store.find_run(run_id)
        if stored is None:
            raise NotFoundError(f"there is no run {run_id!r}")
        return explain(stored.row, await self.shown(stored), self.store.now_ms())

    async def stats(self) -> Stats:
        """See ``Engine.stats``."""
        self.here()
        counted = await self._counts.get()
        runs: dict[str, int] = {status: counted.get(index, 0) for index, status in enumerate(STATUSES)}
        claimable, nodes = await self.store.queue_depth(COUNTED_MAX), await self.store.live_nodes()
        return Stats(runs=runs, claimable=claimable, nodes=len(nodes), counters=dict(counters))

    async def in_flight(self) -> list[InFlight]:
        """See ``Engine.in_flight``."""
        self.here()
        found: dict[tuple[str, str], dict[str, int]] = {}
        for workflow, version, status, count in await self.store.in_flight():
            found.setdefault((workflow, version), {})[STATUSES[status]] = count
        return [
            InFlight(workflow_name=name, version=version or None, **counts) for (name, version), counts in sorted(found.items())
        ]

    async def queue_depth(self, most: int) -> int:
        """See ``Engine.queue_depth``."""
        self.here()
        return await self.store.queue_depth(most)

    async def workers(self) -> list[WorkerInfo]:
        """See ``Engine.workers``."""
        self.here()
        nodes = [worker_of(node_id, info) for node_id, info in sorted((await self.store.live_nodes()).items())]
        return [node for node in nodes if node.workflows]

    async def ready(self) -> None:
        """See ``Engine.ready``."""
        self.here()
        try:
            async with asyncio.timeout(self.settings.lease_ms / 1000):
                # A renewal is a commit: it reads, writes and syncs, and fails if this node was fenced.
                await self.renew()
                await self.store.statuses([])
        except TimeoutError:
            raise UnavailableError("the store does not answer") from None

    async def check(self) -> list[str]:
        """See ``Engine.check``."""
        self.here()
        return await self.store.check()

    async def work(self, workflows: Sequence[tuple[str, str]], worker: Worker) -> Session:
        """See ``Engine.work``."""
        return await self.open_session(workflows, worker)


class _Draft(NamedTuple):
    """A trigger on its way: what is asked, what is to be committed, and the session that has kept room for it."""

    request: TriggerRequest
    operation: NewRun
    session: LocalSession | None
    seed: str


def _put(run_id: str, signal: SignalRequest, now_ms: int) -> Put:
    return Put(run_id=run_id, kind="signal", name=signal.name, message_id=signal.signal_id, payload=signal.payload, at_ms=now_ms)


def _accepted(run_id: str, stored: Stored, what: str) -> None:
    if stored.reason == "missing":
        raise NotFoundError(f"there is no run {run_id!r}")
    if stored.reason == "over":
        raise ConflictError(f"run {run_id!r} is over, or being undone, and takes no {what} any more")
    if stored.reason == "full":
        raise ConflictError(f"run {run_id!r} takes no {what} now: too many messages wait for it (messages_max)")
    if stored.reason == "limit":
        raise ConflictError(f"run {run_id!r} takes no event any more: its history has reached max_events")


def _triggered(request: TriggerRequest, result: Triggered) -> RunRow:
    reason = result.reason
    if reason == "no_parent":
        raise NotFoundError(f"there is no run {request.parent_run_id!r} to be the parent")
    texts = {
        "id_taken": f"run id {request.run_id!r} is taken by other input or another workflow",
        "key_taken": f"idempotency key {request.idempotency_key!r} of {request.workflow!r} is taken by a run with other input",
        "id_and_key_differ": f"run id {request.run_id!r} and idempotency key {request.idempotency_key!r} name different runs",
        "pruned": f"the run that has this id or key is being removed: trigger {request.workflow!r} again in a moment",
        "parent_over": f"the parent {request.parent_run_id!r} is over",
        "over": f"run {request.run_id!r} is over and takes no signal any more",
        "full": f"run {request.run_id!r} takes no signal now: too many messages wait for it",
        "missing": f"run {request.run_id!r} was there and is not any more",
    }
    if reason in texts:
        raise ConflictError(texts[reason])
    assert result.row is not None
    return result.row
