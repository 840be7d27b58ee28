"""Histories as users see them, read back: what was exported, or asked for over the wire, can be replayed.

Events are stored with times as numbers, and shown with times as text. Which fields are times is said here, for both ways.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, cast

import msgspec

from stepwell import codec
from stepwell.durations import to_ms
from stepwell.errors import ValidationError
from stepwell.model import Event, Hook, Page, Run
from stepwell.progress import Assignment, StoredEvent

TIME_FIELDS: Final = ("startedAt", "nextAt", "until")
TIMED: Final = frozenset({
    "step_started", "step_completed", "step_failed", "step_retrying", "sleep_started", "sleep_completed", "child_started",
    "compensation_completed", "compensation_failed",
})  # fmt: skip
"""The events whose payloads have such fields. A user's event is shown as it is."""
_TELLING: Final[dict[type[Any], set[str]]] = {
    Run: {"runId", "workflowName", "status", "createdAt"},
    Event: {"eventId", "runId", "seq", "eventType"},
    Hook: {"token", "url", "runId", "action"},
}
"""Fields by which each is known."""
_LIMIT_BYTES: Final = 2**31
_DEPTH_MAX: Final = 1_000


def stored_event(event: Event) -> StoredEvent:
    """Return an event as it is stored.

    Raises:
        ValidationError: A time in it is none.
    """
    payload: Any = event.payload
    if event.event_type in TIMED:
        payload = {key: _ms(value) if key in TIME_FIELDS else value for key, value in payload.items()}
    elif event.event_type == "patch_marked":
        payload = {**payload, "inserted": True}
    if event.event_type == "step_completed" and (event.name or "").startswith("workflow."):
        payload = {**payload, "result": _revived(payload.get("result"))}
    text = codec.encode(payload, field="payload", limit_bytes=_LIMIT_BYTES, depth_max=_DEPTH_MAX)
    at_ms = to_ms(event.created_at, field="created_at")
    return StoredEvent(event.seq, event.event_type, event.step_id or "", event.name or "", text, at_ms)


def _revived(result: Any) -> Any:
    """Return the recorded result of a client's call, which a server shows without the mark of its type."""
    if isinstance(result, list):
        return [_revived(item) for item in result]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(result, dict):
        return result
    members = cast("dict[str, Any]", result)
    if members.keys() == {"items", "nextCursor"}:
        return Page(_revived(members["items"]), members["nextCursor"])
    kind = next((kind for kind, fields in _TELLING.items() if fields <= members.keys()), None)
    return members if kind is None else msgspec.convert(members, kind)


def _ms(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return to_ms(datetime.fromisoformat(value), field="payload")
    except ValueError:
        raise ValidationError(f"{value!r} is no time", field="payload") from None


def assignment_of(run: Run[Any], events: Sequence[Event]) -> Assignment:
    """Return what an executor needs to replay a run. It belongs to nobody, so nothing that comes of it could be recorded.

    Raises:
        ValidationError: The history does not begin with ``run_created``, or an event makes no sense.
    """
    if not events or events[0].event_type != "run_created":
        raise ValidationError(f"the history of run {run.run_id!r} does not begin with run_created", field="events")
    created: Any = events[0].payload
    return Assignment(
        run_id=run.run_id, turn=0, workflow=run.workflow_name, version=run.version or "", attempt=run.attempt,
        parent_run_id=run.parent_run_id, tags=run.tags,
        input=codec.encode(created.get("input"), field="input", limit_bytes=_LIMIT_BYTES, depth_max=_DEPTH_MAX),
        seed=str(created.get("seed")), max_events=2**53, seq=events[-1].seq,
        started_at_ms=to_ms(run.started_at or run.created_at, field="started_at"), deadline_ms=None, tries=0, mailbox_consumed=0,
        history=[stored_event(event) for event in events], messages=(),
    )  # fmt: skip
