"""What users pass to the client, checked and turned into what the engine takes. Pure, but for the ids that it draws."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import uuid_utils

from stepwell import codec
from stepwell.authoring.workflow import Workflow, registry
from stepwell.checks import check_int, check_name, check_run_id
from stepwell.durations import Duration, parse_ms, to_ms
from stepwell.engine.api import RunFilter, SignalRequest, TriggerRequest, UpdateRequest
from stepwell.errors import ValidationError
from stepwell.model import EVENT_TYPES, STATUSES, Status
from stepwell.settings import Settings

_TAGS_MAX: Final = 50
LIST_MAX: Final = 500


def new_id() -> str:
    """Draw an id. Later ids sort after earlier ones."""
    return str(uuid_utils.uuid7())


def trigger_request(
    workflow: "str | Workflow[Any, Any]", input: Any, settings: Settings, *, run_id: str | None, idempotency_key: str | None,
    parent_run_id: str | None, tags: Sequence[str] | None, priority: int, delay: Duration | None, start_at: datetime | None,
    max_events: int | None, execution_timeout: Duration | None, version: str | None, signal: SignalRequest | None = None,
) -> TriggerRequest:  # fmt: skip
    """Return what to ask the engine for. Limits that the caller does not give are the workflow's own, where it is known here."""
    name = workflow.name if isinstance(workflow, Workflow) else check_name(workflow, "workflow")
    known = workflow if isinstance(workflow, Workflow) else registry.newest(name) if version is None else None
    if delay is not None and start_at is not None:
        raise ValidationError("give delay or start_at, not both", field="start_at")
    timeout_ms = None if execution_timeout is None else parse_ms(execution_timeout, bare="ms", field="execution_timeout")
    if timeout_ms is None and known is not None:
        timeout_ms = known.execution_timeout_ms
    if max_events is None and known is not None:
        max_events = known.max_events
    if version is None and known is not None:
        version = known.version
    return TriggerRequest(
        workflow=name,
        version=None if version is None else check_name(version, "version"),
        input=codec.encode(input, field="input", limit_bytes=settings.payload_bytes_max, depth_max=settings.depth_max),
        run_id=new_id() if run_id is None else check_run_id(run_id),
        idempotency_key=None if idempotency_key is None else check_name(idempotency_key, "idempotency_key"),
        parent_run_id=None if parent_run_id is None else check_run_id(parent_run_id, "parent_run_id"),
        tags=check_tags(tags),
        priority=check_int(priority, "priority", -1_000_000, 1_000_000),
        delay_ms=0 if delay is None else parse_ms(delay, bare="specification", field="delay"),
        start_at_ms=None if start_at is None else to_ms(start_at, field="start_at"),
        max_events=None if max_events is None else check_int(max_events, "max_events", 3, 10_000_000),
        execution_timeout_ms=timeout_ms,
        signal=signal,
    )


def update_request(
    tags: Sequence[str] | None, priority: int | None, max_events: int | None, execution_timeout: Duration | None
) -> UpdateRequest:
    """Return what to ask the engine to change."""
    if tags is None and priority is None and max_events is None and execution_timeout is None:
        raise ValidationError("give at least one of tags, priority, max_events and execution_timeout", field="tags")
    return UpdateRequest(
        tags=None if tags is None else check_tags(tags),
        priority=None if priority is None else check_int(priority, "priority", -1_000_000, 1_000_000),
        max_events=None if max_events is None else check_int(max_events, "max_events", 3, 10_000_000),
        execution_timeout_ms=None if execution_timeout is None else parse_ms(
            execution_timeout, bare="ms", field="execution_timeout"
        ),
    )  # fmt: skip


def check_tags(tags: Sequence[str] | None) -> list[str]:
    """Return the tags of a run: up to 50 names, each once, in order."""
    if tags is None:
        return []
    if isinstance(tags, str) or not isinstance(tags, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(f"tags must be a list of strings, not {tags!r:.80}", field="tags")
    checked = list(dict.fromkeys(check_name(tag, f"tags/{index}") for index, tag in enumerate(tags)))
    if len(checked) > _TAGS_MAX:
        raise ValidationError(f"tags must be at most {_TAGS_MAX}, not {len(checked)}", field="tags")
    return checked


def signal_request(name: str, payload: Any, signal_id: str | None, settings: Settings) -> SignalRequest:
    """Return a signal."""
    return SignalRequest(
        name=check_name(name, "signal name"),
        payload=codec.encode(payload, field="payload", limit_bytes=settings.payload_bytes_max, depth_max=settings.depth_max),
        signal_id=new_id() if signal_id is None else check_name(signal_id, "signal_id"),
    )


def event_type(name: object) -> str:
    """Return the type of a user's event.

    Raises:
        ValidationError: It is no name, or one of stepwell's own types.
    """
    checked = check_name(name, "event_type")
    if checked in EVENT_TYPES:
        raise ValidationError(f"event_type {checked!r} is one of stepwell's own", field="event_type")
    return checked


def run_filter(
    workflow_name: "str | Workflow[Any, Any] | None", status: Status | None, parent_run_id: str | None,
    tags: Sequence[str] | None, created_after: datetime | None, created_before: datetime | None, include: Sequence[str],
) -> RunFilter:  # fmt: skip
    """Return which runs to list."""
    if status is not None and status not in STATUSES:
        raise ValidationError(f"status must be one of {', '.join(STATUSES)}, not {status!r:.80}", field="status")
    unknown = set(include) - {"input", "output"}
    if isinstance(include, str) or unknown:
        raise ValidationError(f"include takes 'input' and 'output', not {include!r:.80}", field="include")
    for field, when in (("created_after", created_after), ("created_before", created_before)):
        if when is not None:
            to_ms(when, field=field)
    name = workflow_name.name if isinstance(workflow_name, Workflow) else workflow_name
    return RunFilter(
        workflow_name=None if name is None else check_name(name, "workflow_name"),
        status=status,
        parent_run_id=None if parent_run_id is None else check_run_id(parent_run_id, "parent_run_id"),
        tags=check_tags(tags),
        created_after=created_after,
        created_before=created_before,
        include=tuple(include),
    )
