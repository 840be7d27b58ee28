"""The description of the API, OpenAPI 3.1, made from the table of routes and the types that are read and written."""

import ast
import inspect
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, cast

import msgspec

from stepwell import model
from stepwell.engine import access_calls, api
from stepwell.server import bodies, examples, problems
from stepwell.server.answers import JSON, wire_type
from stepwell.server.problems import MEDIA, ProblemDetails
from stepwell.server.table import ROUTES, SOCKETS, Route

VERSION: Final = "1"
_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = (
    "Durable workflows. Every name is camelCase, every time is RFC 3339 in UTC, every error is a problem (RFC 9457) with a "
    "`code` that never changes. Keys are shown as `Authorization: Bearer swk_...` and nowhere else."
)
_ERRORS: Final = {
    400: "The body is not JSON, or the query cannot be decoded, or a key stands in the URL.",
    401: "No valid key was shown.",
    403: "The key lacks the scope or may not touch this workflow; or the request comes from another web page.",
    404: "There is no such thing.",
    408: "The body took too long to arrive.",
    409: "It does not fit what is recorded.",
    410: "It is over.",
    413: "The body or a payload is too large; `limit` names the setting.",
    414: "The URL is too long.",
    415: "The body is not `application/json`, or it is compressed.",
    421: "The server is not known by this name.",
    422: "Fields are wrong or unknown; `errors` points to each.",
    429: "Too many wrong keys, long-polls, triggers or runs in the queue; `limit` says which, `Retry-After` when to come again.",
    431: "The headers are too many or too long.",
    500: "Something went wrong that nobody has foreseen; the log has it under `requestId`.",
    503: "The store cannot be reached, or the server is full. `outcomeKnown` is false if it may have been done all the same.",
}
_WHOLE: Final = frozenset({"Run", "Event", "Hook", "WaitingFor", "ErrorDetails", "KeyInfo", "MadeKey", "AuditEntry", "Ticket"})
"""Written with all their fields, always."""
_TIMES: Final = frozenset({
    "createdAt", "startedAt", "completedAt", "updatedAt", "until", "expires", "expiresAt", "revokedAt", "usedAt", "at",
})  # fmt: skip
_ALWAYS: Final = (400, 403, 414, 421, 422, 431, 500, 503)
_WITH_KEY: Final = (401, 429)
_WITH_BODY: Final = (408, 413, 415)
_PARTS: Final[dict[str, dict[str, Any]]] = {
    "runId": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,200}$", "description": "The run's id."},
    "stepId": {"type": "string", "minLength": 1, "maxLength": 1000, "description": "The step's identity, as events show it."},
    "name": {"type": "string", "pattern": bodies.NAME, "minLength": 1, "maxLength": 200, "description": "The collection's name."},
    "recordId": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,200}$", "description": "The record's id."},
    "keyId": {"type": "string", "pattern": "^[a-z0-9]{8}$", "description": "The eight characters behind `swk_`."},
    "token": {
        "type": "string",
        "minLength": 1,
        "maxLength": 2000,
        "description": "The hook's token: whoever holds it may answer.",
    },
}
_SENT_AGAIN: Final = {
    "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": "Sent again with it, what was written is answered, and not written twice.",
}  # fmt: skip
_IF_MATCH: Final = {
    "name": "If-Match", "in": "header",
    "schema": {"type": "string", "pattern": r'^"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"$'},
    "description": "The ETag of the record as you know it: written only if that still holds.",
}  # fmt: skip
_HEADERS: Final[dict[str, list[dict[str, Any]]]] = {
    "GET /api/workflows/runs/{runId}/events": [
        {
            "name": "Last-Event-ID", "in": "header", "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
            "description": "With a stream: go on behind this event.",
        },
    ],
    "POST /api/workflows/hooks/{token}": [
        {
            "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            "description": "The answer's id: sent again with it, an answer is the same answer, and no conflict.",
        },
    ],
    "POST /api/collections/{name}/records": [_SENT_AGAIN],
    "POST /api/collections/{name}/records:batch": [_SENT_AGAIN],
    "PATCH /api/collections/{name}/records/{recordId}": [_SENT_AGAIN, _IF_MATCH],
    "DELETE /api/collections/{name}/records/{recordId}": [_SENT_AGAIN, _IF_MATCH],
}  # fmt: skip


@cache
def document() -> dict[str, Any]:
    """Return the whole description."""
    names = _Components()
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "stepwell", "version": VERSION, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(map(_tag, ROUTES))],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key: `swk_<id>_<secret>`."}},
            "schemas": names.schemas(),
            "responses": {f"Problem{status}": _problem(status) for status in _ERRORS},
        },
        "x-websockets": [{"path": each.path, "scope": each.access, "summary": each.summary} for each in SOCKETS],
    }


class _Components:
    """The schemas of all types that the description names."""

    def __init__(self) -> None:
        elements = [_element(kind) for route in ROUTES for kind in route.answers.values()]
        written = [wire_type(kind) for kind in elements if issubclass(kind, msgspec.Struct)]
        read = [kind for route in ROUTES for kind in (route.body, route.query) if kind is not None]
        self._kinds = list(dict.fromkeys([*written, *read, ProblemDetails]))
        refs, self._schemas = msgspec.json.schema_components(self._kinds, ref_template=_REF)
        self._refs = dict(zip(self._kinds, refs, strict=True))
        self._pages: dict[str, Any] = {}

    def ref(self, kind: type[msgspec.Struct]) -> dict[str, Any]:
        """Return how a type is referred to."""
        return self._refs[wire_type(kind)]

    def page_of(self, kind: type[msgspec.Struct]) -> dict[str, Any]:
        """Return how a list of a type is referred to."""
        name = f"{kind.__name__}Page"
        self._pages[name] = {
            "type": "object", "title": name, "description": "One page of a list; `nextCursor` is null on the last.",
            "required": ["items", "nextCursor"],
            "properties": {"items": {"type": "array", "items": self.ref(kind)}, "nextCursor": {"type": ["string", "null"]}},
        }  # fmt: skip
        return {"$ref": _REF.format(name=name)}

    def parameters(self, kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
        """Return the parameters of a URL that a type describes."""
        found: list[dict[str, Any]] = []
        for name, schema in self._schemas[kind.__name__].get("properties", {}).items():
            shown = _without_tuples(schema)
            said = _remarks().get((kind.__name__, name), "")
            found.append({"name": name, "in": "query", "required": False, "schema": _without_null(shown), "description": said})
        return found

    def schemas(self) -> dict[str, Any]:
        """Return all schemas by name."""
        queries = {route.query.__name__ for route in ROUTES}
        known = {name: self._described(name) for name in self._schemas if name not in queries}
        for name, example in examples.OF_TYPES.items():
            known[name]["examples"] = [example]
        return dict(sorted((known | self._pages).items()))

    def _described(self, name: str) -> dict[str, Any]:
        schema: dict[str, Any] = _without_tuples(self._schemas[name])
        said = _remarks()
        schema["properties"] = {
            field: {**_without_default(shape), **({"description": said[name, field]} if (name, field) in said else {})}
            for field, shape in schema.get("properties", {}).items()
        }
        if name == "TriggerBody":
            schema["not"] = {"required": ["delay", "startAt"]}
            schema["dependentRequired"] = {"signal": ["runId"]}
        if name in _WHOLE:
            schema["required"] = list(schema["properties"])
            schema["properties"] |= {field: _timed(schema["properties"][field]) for field in _TIMES & set(schema["properties"])}
        if "description" in schema:
            schema["description"] = _plain(schema["description"])
        return schema


def _without_tuples(schema: Any) -> Any:
    """Return a schema in which pairs are lists of two: generators of clients know no tuples."""
    if isinstance(schema, list):
        return [_without_tuples(each) for each in cast(Iterable[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    members = cast(dict[str, Any], schema)
    if "prefixItems" in members:
        members = {**members, "items": members["prefixItems"][0]}
        del members["prefixItems"]
    return {key: _without_tuples(value) for key, value in members.items()}


def _timed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a text as that of a time: msgspec says so only of times whose zone is prescribed."""
    if "anyOf" in schema:
        return schema | {"anyOf": [_timed(each) for each in schema["anyOf"]]}
    return schema | {"format": "date-time"} if schema.get("type") == "string" else schema


def _without_default(schema: dict[str, Any]) -> dict[str, Any]:
    """What may be left away may be left away: generators of clients take a default for a reason to ask for it."""
    return {key: value for key, value in schema.items() if key != "default"}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is absent is absent; it has no way to be null."""
    kinds: list[dict[str, Any]] = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return kinds[0]
    shown = {key: value for key, value in schema.items() if not (key == "default" and value in (None, []))}
    return shown | {"anyOf": kinds} if kinds else shown


def _element(answer: Any) -> type[Any]:
    kinds = cast(list[type[Any]], answer) if isinstance(answer, list) else [cast(type[Any], answer)]
    return kinds[0]


def _operation(route: Route, names: _Components) -> dict[str, Any]:
    parts = [
        {"name": name, "in": "path", "required": True, "schema": _PARTS[name]} for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    parameters = [*parts, *names.parameters(route.query), *_HEADERS.get(f"{route.method} {route.path}", ())]
    is_open = route.access in {"public", "hook token"}
    operation: dict[str, Any] = {
        "operationId": route.name, "summary": route.summary, "tags": [_tag(route)], "parameters": parameters,
        "responses": _responses(route, names), "x-scope": route.access,
        "description": f"Needs: {'nothing' if route.access == 'public' else route.access}.",
    }  # fmt: skip
    if is_open:
        operation["security"] = []
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": names.ref(route.body)}}}
    elif route.takes_any_json:
        content = _RECORD if route.access == "records:*:w" else _ANY
        operation["requestBody"] = {"required": True, "content": {JSON: content}}
    return operation


def _responses(route: Route, names: _Components) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, kind in route.answers.items():
        content = _content(route, kind, names)
        found[str(status)] = {"description": _SUCCESS[status], "content": content, "headers": _answer_headers(status, route)}
    takes_body = route.body is not None or route.takes_any_json
    shared: list[int] = [*_ALWAYS, *(() if route.access == "public" else _WITH_KEY), *(_WITH_BODY if takes_body else ())]
    for status in sorted({*shared, *route.problems}):
        if str(status) in found:
            continue
        found[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
        if status in route.problems:
            found[str(status)] = _problem(status) | {"description": f"{route.problems[status]}."}
    return found


def _content(route: Route, kind: Any, names: _Components) -> dict[str, Any]:
    if kind is str:
        return {_MEDIA.get(route.path, "text/plain"): {"schema": {"type": "string"}}}
    if kind is dict:
        return {JSON: {"schema": {"type": "object"}}}
    content: dict[str, Any] = {JSON: {"schema": names.page_of(_element(kind)) if isinstance(kind, list) else names.ref(kind)}}
    if route.streams:
        content[route.streams] = {"schema": {"type": "string"}}
    return content


_ANY: Final = {
    "schema": {"description": "Any JSON value: the answer."},
    "examples": {"approved": {"value": {"approved": True}}},
}
_RECORD: Final = {
    "schema": {"type": "object", "description": "The fields of the record."},
    "examples": {"user": {"value": {"name": "Ada", "mail": "ada@example.com"}}},
}
_MEDIA: Final = {
    "/docs": "text/html", "/docs/style.css": "text/css",
    "/approve": "text/html", "/approve/style.css": "text/css", "/approve/script.js": "text/javascript",
}  # fmt: skip
_SUCCESS: Final = {200: "As asked.", 201: "Made.", 202: "Accepted: it is recorded.", 503: "Not now."}


def _answer_headers(status: int, route: Route) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-ID": {"schema": {"type": "string"}, "description": "What the log calls this request."}}
    if status == 201 and route.name == "triggerRun":
        headers["Location"] = {"schema": {"type": "string"}, "description": "Where the run is."}
    return headers


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": _ERRORS[status],
        "content": {MEDIA: {"schema": {"$ref": _REF.format(name="ProblemDetails")}, "examples": examples.of_problem(status)}},
    }


def _tag(route: Route) -> str:
    words = route.path.split("/")
    if words[1] != "api":
        return "operations"
    return words[3] if words[2] == "workflows" else words[2]


@cache
def _remarks() -> Mapping[tuple[str, str], str]:
    """Return what the code says about each field, by the type and the field's name on the wire."""
    return {
        (name, problems.camel(field).rstrip("_")): said
        for module in (model, api, access_calls, bodies, problems)
        for name, field, said in _remarks_in(ast.parse(inspect.getsource(module)))
    }


def _remarks_in(module: ast.Module) -> Iterable[tuple[str, str, str]]:
    for kind in (node for node in module.body if isinstance(node, ast.ClassDef)):
        for field, below in zip(kind.body, kind.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                yield kind.name, field.target.id, _plain(str(below.value.value))


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "`").split())
