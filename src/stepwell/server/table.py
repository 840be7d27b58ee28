"""The one table of routes: what is served, who may ask for it, what it takes and answers.

The router, the check of scopes, the documentation and the tests are made from it. What is not in it does not exist.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from stepwell.engine.access_calls import AuditEntry, KeyInfo, MadeKey
from stepwell.engine.api import InFlight, WorkerInfo
from stepwell.model import CollectionSettings, Event, Hook, Run, Stats
from stepwell.server import access, bodies, events, hooks, look, records, runs, workers
from stepwell.server.answers import Answer
from stepwell.server.keys import Scope
from stepwell.server.requests import Request
from stepwell.server.sockets import Socket
from stepwell.server.streams import EVENT_STREAM

Access: TypeAlias = Scope | Literal["any key", "public", "hook token"]
"""``any key``: whatever it may do else. ``public``: anybody. ``hook token``: whoever holds the token in the path."""
Handler: TypeAlias = Callable[[Request], Awaitable[Answer]]
_RUN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_PART_LENGTH_MAX: Final = 2_000


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    name: str
    """What generated clients call it."""
    access: Access
    handler: Handler
    _: KW_ONLY
    summary: str
    answers: Mapping[int, Any]
    """Status to what it holds: a type, ``[type]`` for a list of it, or None for no body. Errors that any route may have are not
    repeated here. ``str`` is a text, ``dict`` any object."""
    body: type[msgspec.Struct] | None = None
    takes_any_json: bool = False
    query: type[msgspec.Struct] = bodies.NoQuery
    streams: str = ""
    """The media type of an answer that goes on, for whoever asks for it by ``Accept``. A ticket opens an event stream, too."""
    is_audited: bool = False
    """Whether the audit log has it, under the route's name; what is refused, too."""
    problems: Mapping[int, str] = field(default_factory=dict[int, str])
    """Statuses of this route's own errors, and when they come."""


_NO_RUN: Final = {404: "there is no such run"}
_OVER: Final = {409: "its state does not allow this: the text says why"}
_NO_RECORD: Final = {404: "there is no such record"}
_NO_NAME: Final = {404: "no collection can have this name"}
_CHANGED: Final = {409: "it was changed since `If-Match`, or a value must be unique"}
_BASE: Final = "/api/workflows"
_COLLECTIONS: Final = "/api/collections"
_RECORDS: Final = f"{_COLLECTIONS}/{{name}}/records"

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "POST", f"{_BASE}/runs", "triggerRun", "trigger", runs.trigger,
        summary="Trigger a workflow, and wait for its end if asked to", query=bodies.TriggerQuery, body=bodies.TriggerBody,
        answers={201: Run, 200: Run},
        problems={404: "there is no such parent", 409: "the id or key is taken by other input, or both name different runs"},
    ),
    Route(
        "POST", f"{_BASE}/runs/batch", "triggerRuns", "trigger", runs.trigger_batch,
        summary="Trigger up to 1,000 workflows in one commit", body=bodies.BatchBody, answers={200: [bodies.BatchItem]},
    ),
    Route(
        "GET", f"{_BASE}/runs", "listRuns", "read", runs.list_,
        summary="List runs, newest first", query=bodies.ListQuery, answers={200: [Run]},
    ),
    Route(
        "GET", f"{_BASE}/runs/{{runId}}", "getRun", "read", runs.get,
        summary="Get a run, or wait for its end", query=bodies.RunQuery, answers={200: Run}, problems=_NO_RUN,
    ),
    Route(
        "PATCH", f"{_BASE}/runs/{{runId}}", "updateRun", "operate", runs.patch,
        is_audited=True, summary="Change a run", body=bodies.PatchBody, answers={200: Run}, problems=_NO_RUN | _OVER,
    ),
    Route(
        "DELETE", f"{_BASE}/runs/{{runId}}", "cancelRun", "operate", runs.cancel,
        is_audited=True, summary="Cancel a run", query=bodies.CancelQuery, answers={202: Run, 200: Run}, problems=_NO_RUN,
    ),
    Route(
        "GET", f"{_BASE}/runs/{{runId}}/children", "listChildren", "read", runs.children,
        summary="List the children of a run", query=bodies.PageQuery, answers={200: [Run]}, problems=_NO_RUN,
    ),
    Route(
        "GET", f"{_BASE}/runs/{{runId}}/parent", "getParent", "read", runs.parent,
        summary="Get the parent of a run", answers={200: Run}, problems={404: "there is no such run, or it has no parent"},
    ),
    Route(
        "GET", f"{_BASE}/runs/{{runId}}/hooks", "listHooks", "signal", hooks.of_run,
        summary="List the hooks of a run, with their tokens", answers={200: [Hook]}, problems=_NO_RUN,
    ),
    Route(
        "GET", f"{_BASE}/runs/{{runId}}/why", "getWhy", "read", runs.why,
        summary="Say why a run is not moving", answers={200: bodies.Why}, problems=_NO_RUN,
    ),
    Route(
        "GET", f"{_BASE}/runs/{{runId}}/events", "listEvents", "read", events.events,
        summary="Get the history of a run; live as an event stream", query=bodies.EventsQuery, answers={200: [Event]},
        streams=EVENT_STREAM, problems=_NO_RUN,
    ),
    Route(
        "POST", f"{_BASE}/runs/{{runId}}/signals", "sendSignal", "signal", events.signal,
        summary="Send a signal to a run", body=bodies.SignalBody, answers={202: bodies.Accepted, 200: bodies.Accepted},
        problems=_NO_RUN | _OVER,
    ),
    Route(
        "POST", f"{_BASE}/runs/{{runId}}/fork", "forkRun", "operate", runs.fork,
        is_audited=True, summary="Make a run that shares the history of another", body=bodies.ForkBody,
        answers={201: Run, 200: Run},
        problems=_NO_RUN | {409: "the new id is taken, or what is shared leaves no room in the history"},
    ),
    Route(
        "PUT", f"{_BASE}/runs/{{runId}}/steps/{{stepId}}", "setStepResult", "operate", runs.set_step_result,
        is_audited=True, summary="Record the result of a step of a paused run by hand",
        body=bodies.StepResultBody, answers={200: Run},
        problems=_NO_RUN | _OVER,
    ),
    Route(
        "POST", f"{_BASE}/events", "emitEvent", "signal", events.emit,
        summary="Emit an event of your own", body=bodies.EventBody, answers={201: Event}, problems=_NO_RUN | _OVER,
    ),
    Route(
        "POST", f"{_BASE}/hooks", "createHook", "signal", hooks.create,
        is_audited=True, summary="Create a hook", body=bodies.HookBody, answers={201: Hook, 200: Hook}, problems=_NO_RUN | _OVER,
    ),
    Route(
        "GET", f"{_BASE}/hooks/{{token}}", "getHook", "hook token", hooks.get,
        summary="See what a hook asks",
        answers={200: Hook}, problems={404: "there is no such hook", 410: "it has expired, or its run is over"},
    ),
    Route(
        "POST", f"{_BASE}/hooks/{{token}}", "executeHook", "hook token", hooks.execute,
        is_audited=True, summary="Answer a hook", takes_any_json=True, answers={200: Hook},
        problems={
            404: "there is no such hook", 409: "it was answered before: `hook` has the answer that stands",
            410: "it has expired, or its run is over",
        },
    ),
    Route(
        "GET", f"{_BASE}/stats", "getStats", "read", look.stats,
        summary="Count runs by status", answers={200: Stats},
    ),
    Route(
        "GET", f"{_BASE}/check", "checkStore", "admin", look.check,
        summary="Verify the store", answers={200: bodies.Problems},
    ),
    Route(
        "GET", f"{_BASE}/definitions", "listDefinitions", "read", look.definitions,
        summary="List the workflows that live workers know", answers={200: [bodies.Definition]},
    ),
    Route(
        "GET", f"{_BASE}/workers", "listWorkers", "read", look.workers,
        summary="List live workers", answers={200: [WorkerInfo]},
    ),
    Route(
        "GET", f"{_BASE}/in-flight", "listInFlight", "read", look.in_flight,
        summary="Count the runs that are not over, by workflow and version", answers={200: [InFlight]},
    ),
    Route(
        "GET", _COLLECTIONS, "listCollections", "records:*:r", records.collections,
        summary="List the collections", answers={200: [CollectionSettings]},
    ),
    Route(
        "GET", f"{_COLLECTIONS}/{{name}}", "getCollection", "records:*:r", records.settings,
        summary="Get the indexes and the schema of a collection", answers={200: CollectionSettings},
        problems={404: "there is no such collection"},
    ),
    Route(
        "PATCH", f"{_COLLECTIONS}/{{name}}", "updateCollection", "records:*:w", records.configure,
        is_audited=True, summary="Settle the indexes and the schema of a collection", body=bodies.ConfigureBody,
        answers={200: CollectionSettings}, problems=_NO_NAME | {409: "records have the same value where it must be unique"},
    ),
    Route(
        "GET", _RECORDS, "listRecords", "records:*:r", records.list_,
        summary="List records; their changes as an event stream", query=bodies.RecordsQuery, answers={200: bodies.RecordList},
        streams=EVENT_STREAM,
        problems=_NO_NAME | {409: "what came behind `Last-Event-ID` is forgotten", 413: "the page has too many bytes"},
    ),
    Route(
        "POST", _RECORDS, "createRecord", "records:*:w", records.create,
        summary="Create a record", takes_any_json=True, answers={201: dict},
        problems=_NO_NAME | {409: "there is one with this id, or with a value that must be unique"},
    ),
    Route(
        "POST", f"{_RECORDS}:batch", "writeRecords", "records:*:w", records.batch,
        summary="Write up to 1,000 records in one commit: all or none", body=bodies.WritesBody,
        answers={200: [bodies.WrittenItem]},
        problems={404: "a record is not there", 409: "a record is, or was changed since, or a value must be unique"},
    ),
    Route(
        "GET", f"{_RECORDS}/{{recordId}}", "getRecord", "records:*:r", records.get,
        summary="Get a record", query=bodies.RecordQuery, answers={200: dict}, problems=_NO_RECORD,
    ),
    Route(
        "PATCH", f"{_RECORDS}/{{recordId}}", "updateRecord", "records:*:w", records.update,
        summary="Replace fields of a record", takes_any_json=True, answers={200: dict}, problems=_NO_RECORD | _CHANGED,
    ),
    Route(
        "DELETE", f"{_RECORDS}/{{recordId}}", "deleteRecord", "records:*:w", records.delete,
        is_audited=True, summary="Delete a record", answers={200: bodies.DeletedRecord}, problems=_NO_RECORD | _CHANGED,
    ),
    Route(
        "POST", "/api/keys", "createKey", "admin", access.create,
        is_audited=True, summary="Make a key, and show it this once", body=bodies.KeyBody, answers={201: MadeKey},
    ),
    Route(
        "GET", "/api/keys", "listKeys", "admin", access.list_,
        summary="List the keys, without their secrets", answers={200: [KeyInfo]},
    ),
    Route(
        "DELETE", "/api/keys/{keyId}", "revokeKey", "admin", access.revoke,
        is_audited=True, summary="End a key for good", answers={200: KeyInfo}, problems={404: "there is no such key"},
    ),
    Route(
        "POST", "/api/tickets", "createTicket", "any key", access.ticket,
        summary="Make a ticket, with which a browser opens an event stream", answers={201: bodies.Ticket},
    ),
    Route(
        "GET", "/api/audit", "listAudit", "admin", access.audit,
        summary="Read the audit log, oldest first; all of it as JSON lines", query=bodies.AuditQuery, answers={200: [AuditEntry]},
        streams=access.JSON_LINES,
    ),
    Route(
        "GET", "/healthz", "getHealth", "public", look.live,
        summary="Does the process live?", answers={200: bodies.Health},
    ),
    Route(
        "GET", "/readyz", "getReadiness", "public", look.ready,
        summary="Would requests be served?", answers={200: bodies.Health, 503: bodies.Health},
    ),
    Route(
        "GET", "/metrics", "getMetrics", "read", look.metrics,
        summary="What was counted, for Prometheus", answers={200: str},
    ),
    Route(
        "GET", "/openapi.json", "getOpenapi", "public", look.page,
        summary="The description of this API, for programs", answers={200: dict},
    ),
    Route(
        "GET", "/docs", "getDocs", "public", look.page,
        summary="The description of this API, for people", answers={200: str},
    ),
    Route(
        "GET", "/docs/style.css", "getStyle", "public", look.page,
        summary="How that looks", answers={200: str},
    ),
    Route(
        "GET", "/approve", "getApprovePage", "public", look.page,
        summary="Where people answer a hook, with its token behind `#`", answers={200: str},
    ),
    Route(
        "GET", "/approve/style.css", "getApproveStyle", "public", look.page,
        summary="How that looks", answers={200: str},
    ),
    Route(
        "GET", "/approve/script.js", "getApproveScript", "public", look.page,
        summary="What that does", answers={200: str},
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SocketRoute:
    """A path that takes WebSocket connections. Its handler is called once the key was looked at, and accepts."""

    path: str
    access: Scope
    handler: Callable[[Socket], Awaitable[None]]
    summary: str


SOCKETS: Final[tuple[SocketRoute, ...]] = (
    SocketRoute(path=f"{_BASE}/worker", access="worker", handler=workers.work, summary="Execute runs: the worker protocol"),
)


class Router:
    """Finds the route of a path."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._shaped: dict[int, list[tuple[list[str], dict[str, Route]]]] = {}
        for route in routes:
            if "{" not in route.path:
                self._exact.setdefault(route.path, {})[route.method] = route
                continue
            segments = route.path.split("/")
            shapes = self._shaped.setdefault(len(segments), [])
            known = next((methods for shape, methods in shapes if shape == segments), None)
            if known is None:
                known = dict[str, Route]()
                shapes.append((segments, known))
            known[route.method] = route

    def find(self, raw_path: str) -> tuple[Mapping[str, Route], dict[str, str]] | None:
        """Return what a path has by method, and its decoded parts; None if there is no such path."""
        exact = self._exact.get(raw_path)
        if exact is not None:
            return exact, {}
        segments = raw_path.split("/")
        for shape, methods in self._shaped.get(len(segments), ()):
            parts = _matched(shape, segments)
            if parts is not None:
                return methods, parts
        return None


def _matched(shape: list[str], segments: list[str]) -> dict[str, str] | None:
    parts: dict[str, str] = {}
    for expected, given in zip(shape, segments, strict=True):
        if not expected.startswith("{"):
            if expected != given:
                return None
            continue
        name, part = expected[1:-1], _decoded(given)
        if part is None or (name in {"runId", "recordId"} and not _RUN_ID.fullmatch(part)):
            return None
        parts[name] = part
    return parts


def _decoded(segment: str) -> str | None:
    if len(segment) > _PART_LENGTH_MAX:
        return None
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        return None
    return text if text and text.isprintable() else None
