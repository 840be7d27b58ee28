"""Stored rows and events, as users see them. Pure."""

import base64
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from stepwell import codec
from stepwell.durations import from_ms
from stepwell.engine.access_calls import AuditEntry, KeyInfo
from stepwell.engine.api import RunFilter, WorkerInfo
from stepwell.engine.created import Created, read_created
from stepwell.errors import ValidationError
from stepwell.execution.failures import recorded_failure
from stepwell.execution.histories import TIME_FIELDS, TIMED
from stepwell.model import STATUSES, ErrorDetails, Event, Run, WaitingFor, WaitKind
from stepwell.progress import StoredEvent
from stepwell.store.access import AuditRow, KeyRow
from stepwell.store.base import OVER_FROM, RunRow, StoredRun
from stepwell.store.drafts import UNDOING


class _Waiting(msgspec.Struct):
    kind: WaitKind
    name: str = ""
    until: int | None = None
    others: int = 0


class _Output(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw(b"null")


class _State(msgspec.Struct):
    state: msgspec.Raw = msgspec.Raw(b"null")


class _Reason(msgspec.Struct):
    reason: str | None = None


def run_of(stored: StoredRun, *, created: bool = False) -> Run[Any]:
    """Return a run as users see it. What cannot be read in it (edited by hand) is left out."""
    row = stored.row
    made = _created(stored.created)
    waiting = waiting_of(row)
    error, details = _failure(stored.final)
    if waiting is not None and waiting.kind == "code":
        error = waiting.name
    output = None
    if stored.final is not None and stored.final.type == "run_completed":
        output = codec.decode(bytes(msgspec.json.decode(stored.final.payload, type=_Output).output))
    reason = None
    if stored.final is not None and stored.final.type == "run_cancelled":
        reason = msgspec.json.decode(stored.final.payload, type=_Reason).reason
    return Run(
        run_id=row.run_id, workflow_name=row.workflow, version=row.version or None, status=STATUSES[row.status],
        input=codec.decode(made.input_text) if made is not None else None, output=output, error=error, error_details=details,
        parent_run_id=row.parent_run_id, state=_state(stored.state), tags=msgspec.json.decode(row.tags), priority=row.priority,
        waiting_for=waiting,
        attempt=row.attempt, interruptions=row.interruptions, event_count=row.seq, max_events=row.max_events,
        execution_timeout=row.timeout_ms, idempotency_key=row.idempotency_key, cancel_reason=reason, created=created,
        created_at=from_ms(row.created_at), started_at=_time(row.started_at), completed_at=_time(row.completed_at),
        updated_at=from_ms(row.updated_at),
    )  # fmt: skip


def _state(payload: str | None) -> Any:
    try:
        return None if payload is None else codec.decode(bytes(msgspec.json.decode(payload, type=_State).state).decode())
    except (msgspec.MsgspecError, ValueError):
        return None


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def _created(payload: str | None) -> Created | None:
    try:
        return None if payload is None else read_created(payload)
    except msgspec.MsgspecError:
        return None


def waiting_of(row: RunRow) -> WaitingFor | None:
    """Return what a run that is not over waits for."""
    if row.status >= OVER_FROM:
        return None
    if row.waiting_for is None:
        # Not in the row: there it would say that nothing executes, and a compensation that kills its process went on for ever.
        return WaitingFor(kind="compensation") if row.wanted & UNDOING else None
    try:
        waiting = msgspec.json.decode(row.waiting_for, type=_Waiting)
    except msgspec.MsgspecError:
        return None
    return WaitingFor(kind=waiting.kind, name=waiting.name, until=_time(waiting.until), others=waiting.others)


def _failure(final: StoredEvent | None) -> tuple[str | None, ErrorDetails | None]:
    if final is None or final.type != "run_failed":
        return None, None
    try:
        record = recorded_failure(final.payload)
    except msgspec.MsgspecError:
        return "unreadable error", None
    where = f" (in step {record.step!r})" if record.step else ""
    details = ErrorDetails(
        type=record.type, message=record.message, step=record.step, attempts=record.attempts, traceback=record.traceback
    )
    return f"{record.type}: {record.message}{where}", details


def event_of(run_id: str, event: StoredEvent) -> Event:
    """Return an event as users see it: times in its payload as RFC 3339."""
    payload: Any = codec.decode(event.payload)
    if event.type in TIMED:
        for field in TIME_FIELDS:
            if isinstance(payload.get(field), int):
                payload[field] = rfc3339(payload[field])
    elif event.type == "patch_marked":
        payload.pop("inserted", None)
    is_users = event.step_id.startswith("event:")
    return Event(
        event_id=event.step_id.removeprefix("event:") if is_users else f"{run_id}/{event.seq}", run_id=run_id, seq=event.seq,
        event_type=event.type, step_id=None if is_users else event.step_id or None, name=event.name or None, payload=payload,
        created_at=from_ms(event.at_ms),
    )  # fmt: skip


def rfc3339(ms: int) -> str:
    """Return a time as the wire has it."""
    return from_ms(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Info(msgspec.Struct):
    pid: int = 0
    host: str = ""
    workflows: list[tuple[str, str]] = []


def worker_of(node_id: str, info: str) -> WorkerInfo:
    """Return a node as it describes itself; without a description, if it cannot be read."""
    try:
        told = msgspec.json.decode(info, type=_Info)
    except msgspec.MsgspecError:
        told = _Info()
    return WorkerInfo(node_id=node_id, pid=told.pid, host=told.host, workflows=told.workflows)


def cursor_of(row: RunRow, only: RunFilter) -> str:
    """Return the cursor behind a run in a list."""
    return _sealed(f"{row.created_at} {row.run_id}", only)


def read_cursor(cursor: str, only: RunFilter) -> tuple[int, str]:
    """Read it back.

    Raises:
        ValidationError: It was not made by ``cursor_of`` for this list.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        place = text.rpartition(" ")[0]
        if cursor != _sealed(place, only):
            raise ValueError
    except (ValueError, TypeError):
        raise ValidationError(f"cursor is not one of this list: {cursor!r:.80}", field="cursor") from None
    at, _, run_id = place.partition(" ")
    return int(at), run_id


def _sealed(place: str, only: RunFilter) -> str:
    # What is shown of each run may change from page to page; which runs are listed may not.
    listed = msgspec.json.encode(msgspec.structs.replace(only, include=()))
    seal = blake2b(place.encode() + listed, digest_size=6).hexdigest()
    return base64.urlsafe_b64encode(f"{place} {seal}".encode()).decode().rstrip("=")


def key_info_of(row: KeyRow) -> KeyInfo:
    """Return a key as it may be shown."""
    return KeyInfo(
        key_id=row.key_id, name=row.name, scopes=msgspec.json.decode(row.scopes), workflows=msgspec.json.decode(row.workflows),
        triggers_per_second=row.triggers_per_second, created_at=from_ms(row.created_at), expires_at=_time(row.expires_at),
        revoked_at=_time(row.revoked_at), used_at=_time(row.used_at),
    )  # fmt: skip


def audit_entry_of(row: AuditRow) -> AuditEntry:
    """Return an entry of the audit log."""
    return AuditEntry(
        audit_id=row.audit_id, at=from_ms(row.at), who=row.who, action=row.action, target=row.target, address=row.address,
        result=row.result,
    )  # fmt: skip
