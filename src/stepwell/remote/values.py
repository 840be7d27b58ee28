"""Runs, events and hooks, as a server shows them and as they are here. Pure."""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from stepwell import codec
from stepwell.durations import to_ms
from stepwell.engine.api import InFlight, WorkerInfo
from stepwell.model import ErrorDetails, Event, Hook, Page, Run, Stats, Status, WaitingFor

_NULL: Final = Raw(b"null")


class WireRun(msgspec.Struct, rename="camel"):
    """A run on the wire. What its users put into it is not looked into before it is asked for."""

    run_id: str
    workflow_name: str
    status: Status
    created_at: datetime
    updated_at: datetime
    version: str | None = None
    input: Raw = _NULL
    output: Raw = _NULL
    error: str | None = None
    error_details: ErrorDetails | None = None
    parent_run_id: str | None = None
    tags: list[str] = []
    priority: int = 0
    state: Raw = _NULL
    waiting_for: WaitingFor | None = None
    attempt: int = 1
    interruptions: int = 0
    event_count: int = 0
    max_events: int = 0
    execution_timeout: int | None = None
    idempotency_key: str | None = None
    cancel_reason: str | None = None
    created: bool = False
    started_at: datetime | None = None
    completed_at: datetime | None = None


class WireEvent(msgspec.Struct, rename="camel"):
    """An event on the wire."""

    event_id: str
    run_id: str
    seq: int
    event_type: str
    created_at: datetime
    step_id: str | None = None
    name: str | None = None
    payload: Raw = _NULL


class WireHook(msgspec.Struct, rename="camel"):
    """A hook on the wire."""

    token: str = ""
    url: str = ""
    page_url: str = ""
    run_id: str = ""
    workflow_name: str = ""
    name: str = ""
    action: str = ""
    payload: Raw = _NULL
    state: Literal["open", "executed", "expired"] = "open"
    answer: Raw = _NULL
    expires: datetime | None = None


class _Runs(msgspec.Struct, rename="camel"):
    items: list[WireRun]
    next_cursor: str | None = None


class _Events(msgspec.Struct, rename="camel"):
    items: list[WireEvent]
    next_cursor: str | None = None


class _Hooks(msgspec.Struct, rename="camel"):
    items: list[WireHook]


class _Workers(msgspec.Struct):
    items: list[WorkerInfo]


class _InFlight(msgspec.Struct):
    items: list[InFlight]


class _Health(msgspec.Struct):
    now: datetime | None = None


class _Problems(msgspec.Struct):
    problems: list[str]


class _Why(msgspec.Struct, rename="camel"):
    why: str


_run: Final = msgspec.json.Decoder(WireRun).decode
_runs: Final = msgspec.json.Decoder(_Runs).decode
_event: Final = msgspec.json.Decoder(WireEvent).decode
_events: Final = msgspec.json.Decoder(_Events).decode
_hook: Final = msgspec.json.Decoder(WireHook).decode
_hooks: Final = msgspec.json.Decoder(_Hooks).decode
_why: Final = msgspec.json.Decoder(_Why).decode
_workers: Final = msgspec.json.Decoder(_Workers).decode
_in_flight: Final = msgspec.json.Decoder(_InFlight).decode
_health: Final = msgspec.json.Decoder(_Health).decode
_problems: Final = msgspec.json.Decoder(_Problems).decode
_stats: Final = msgspec.json.Decoder(Stats).decode


def _value(raw: Raw) -> Any:
    return codec.decode(bytes(raw))


def _run_of(wire: WireRun) -> Run[Any]:
    return Run(
        run_id=wire.run_id, workflow_name=wire.workflow_name, version=wire.version, status=wire.status,
        input=_value(wire.input), output=_value(wire.output), error=wire.error, error_details=wire.error_details,
        parent_run_id=wire.parent_run_id, tags=wire.tags, priority=wire.priority, state=_value(wire.state),
        waiting_for=wire.waiting_for, attempt=wire.attempt, interruptions=wire.interruptions, event_count=wire.event_count,
        max_events=wire.max_events, execution_timeout=wire.execution_timeout, idempotency_key=wire.idempotency_key,
        cancel_reason=wire.cancel_reason, created=wire.created, created_at=wire.created_at, started_at=wire.started_at,
        completed_at=wire.completed_at, updated_at=wire.updated_at,
    )  # fmt: skip


def _event_of(wire: WireEvent) -> Event:
    return Event(
        event_id=wire.event_id, run_id=wire.run_id, seq=wire.seq, event_type=wire.event_type, step_id=wire.step_id,
        name=wire.name, payload=_value(wire.payload), created_at=wire.created_at,
    )  # fmt: skip


def hook_of(wire: WireHook) -> Hook:
    """Return a hook."""
    return Hook(
        token=wire.token, url=wire.url, page_url=wire.page_url, run_id=wire.run_id, workflow_name=wire.workflow_name,
        name=wire.name, action=wire.action, payload=_value(wire.payload), state=wire.state, answer=_value(wire.answer),
        expires=wire.expires,
    )  # fmt: skip


def read_run(body: bytes) -> Run[Any]:
    """Read an answer that is a run."""
    return _run_of(_run(body))


def read_runs(body: bytes) -> Page[Run[Any]]:
    """Read an answer that is a page of runs."""
    page = _runs(body)
    return Page([_run_of(run) for run in page.items], page.next_cursor)


def read_event(body: bytes | str) -> Event:
    """Read an answer that is an event."""
    return _event_of(_event(body))


def read_events(body: bytes) -> list[Event]:
    """Read an answer that is a part of a history."""
    return [_event_of(event) for event in _events(body).items]


def read_hook(body: bytes) -> Hook:
    """Read an answer that is a hook."""
    return hook_of(_hook(body))


def read_hooks(body: bytes) -> list[Hook]:
    """Read an answer that is a list of hooks."""
    return [hook_of(hook) for hook in _hooks(body).items]


def read_why(body: bytes) -> str:
    """Read an answer that is a sentence."""
    return _why(body).why


def read_stats(body: bytes) -> Stats:
    """Read an answer that is counts."""
    return _stats(body)


def read_problems(body: bytes) -> list[str]:
    """Read an answer that is what is wrong with a store."""
    return _problems(body).problems


def read_in_flight(body: bytes) -> list[InFlight]:
    """Read an answer that is a count of the runs that are not over."""
    return _in_flight(body).items


def read_time(body: bytes) -> int | None:
    """Return the store's time from an answer that says how the server is, in ms since 1970 UTC; None if it does not tell."""
    now = _health(body).now
    return None if now is None else to_ms(now, field="now")


def read_workers(body: bytes) -> list[WorkerInfo]:
    """Read an answer that is a list of workers."""
    return _workers(body).items
