"""The application: what passes its gate is routed, its scope is checked, its handler asked, and every error is a problem."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from stepwell.engine.access_calls import KeyBook
from stepwell.engine.api import Engine
from stepwell.engine.audit import Audit
from stepwell.errors import AuthenticationError, PermissionDeniedError, StepwellError
from stepwell.server.answers import Answer
from stepwell.server.gate import Gate, respond
from stepwell.server.keys import NOBODY, Identity, Keys
from stepwell.server.pages import pages
from stepwell.server.problems import Problem, internal, problem_of
from stepwell.server.reading import ticket_in
from stepwell.server.requests import Disconnected, Receive, Request, Send
from stepwell.server.sockets import Socket, offered
from stepwell.server.streams import EVENT_STREAM
from stepwell.server.table import ROUTES, SOCKETS, Access, Route, Router
from stepwell.server.tickets import Tickets
from stepwell.server.world import World
from stepwell.settings import ServerSettings

_log: Final = logging.getLogger("stepwell.server")
_access: Final = logging.getLogger("stepwell.access")
_GONE: Final = 499
"""What is counted where nobody was left to be answered."""
_HOOKS: Final = "/api/workflows/hooks/"
_PATH_LENGTH_MAX: Final = 500


class App:
    """An ASGI application over an engine, which whoever made this opens and closes."""

    def __init__(self, world: World, gate: Gate) -> None:
        self.world = world
        self._gate = gate
        self._router = Router(ROUTES)
        self._sockets = {route.path: route for route in SOCKETS}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case _:
                await self._connect(scope, receive, send)

    async def _serve(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        request = self._gate.request(scope, receive, self.world)
        clock = asyncio.get_running_loop().time
        began, status = clock(), _GONE
        try:
            answer = await self._answer(request, scope)
            status = answer.status
            await respond(request, answer, send, closes=not await request.drain())
        except Disconnected:
            return
        finally:
            # Whoever asked has the answer first.
            asyncio.get_running_loop().call_soon(self._tell, request, status, clock() - began)

    def _tell(self, request: Request, status: int, seconds: float) -> None:
        self.world.metrics.served(request.route, status, seconds)
        if _access.isEnabledFor(logging.INFO):
            # The path may hold a token and the query anything: of hooks only the route is told, of queries nothing.
            path = f"{_HOOKS}[redacted]" if request.path.startswith(_HOOKS) else request.path[:_PATH_LENGTH_MAX]
            _access.info("%s %s", request.method, path, extra={
                "status": status, "ms": round(seconds * 1000, 1), "request_id": request.request_id,
                "key_id": request.identity.key_id, "address": request.address,
            })  # fmt: skip

    async def _answer(self, request: Request, scope: Mapping[str, Any]) -> Answer:
        try:
            self._gate.check(request, scope)
            route = self._route(request)
            request.route = route.name
            await self._authorize(request, route.access, route.name, route.streams)
            return await self._handled(request, route)
        except Problem as problem:
            return problem.answer(request.request_id)
        except StepwellError as error:
            told = problem_of(error)
            if told.status == 500:
                _log.exception("request %s failed", request.request_id)
            return told.answer(request.request_id)
        except Disconnected:
            raise
        except Exception:
            _log.exception("request %s failed in a way that nobody has foreseen", request.request_id)
            return internal().answer(request.request_id)

    async def _connect(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        request = self._gate.request(scope, receive, self.world)
        socket = Socket(request, offered(scope), receive, send)
        try:
            self._gate.check(request, scope)
            route = self._sockets.get(request.path)
            if route is None:
                raise Problem(404, "not_found", "there is nothing here")
            await self._authorize(request, route.access, route.path)
            with self.world.connected(request.identity):
                await route.handler(socket)
        except Problem as problem:
            await socket.refuse(problem)
        except StepwellError as error:
            await socket.refuse(problem_of(error))
        except Disconnected:
            return
        except Exception:
            _log.exception("connection %s failed in a way that nobody has foreseen", request.request_id)
            await socket.refuse(internal())

    async def _handled(self, request: Request, route: Route) -> Answer:
        try:
            answer = await route.handler(request)
        except (Problem, StepwellError) as error:
            if route.is_audited or request.is_noted:
                code = error.code if isinstance(error, Problem) else problem_of(error).code
                with suppress(StepwellError):  # what is told is why it was refused
                    await self._note_refusal(request, route.name, code)
            raise
        if route.is_audited or request.is_noted:
            action, target = request.action or route.name, _target(request)
            await self.world.audit.note(
                request.identity.key_id, action, target, address=request.address, result=str(answer.status)
            )  # fmt: skip
        return answer

    async def _note_refusal(self, request: Request, action: str, result: str) -> None:
        who, action = request.identity.key_id, request.action or action
        await self.world.audit.note_refusal(who, action, _target(request), address=request.address, result=result)

    def _route(self, request: Request) -> Route:
        found = self._router.find(request.path)
        if found is None:
            raise Problem(404, "not_found", "there is nothing here")
        methods, request.parts = found
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
            raise Problem(405, "method_not_allowed", f"this takes {allowed}", headers={"allow": allowed})
        return route

    async def _authorize(self, request: Request, access: Access, action: str, streams: str = "") -> None:
        """Deny by default: a route names its scope, or does not exist."""
        if access in {"public", "hook token"}:
            request.identity = NOBODY
            return
        try:
            request.identity = await self._identify(request, streams)
        except AuthenticationError as error:
            request.identity = NOBODY
            await self._note_refusal(request, action, error.code)
            raise
        if access != "any key" and not request.identity.may(access, request.parts.get("name")):
            await self._note_refusal(request, action, PermissionDeniedError.code)
            raise PermissionDeniedError(f"this key lacks the scope {access!r}")

    async def _identify(self, request: Request, streams: str) -> Identity:
        world, address, now_ms = self.world, request.address, self.world.engine.now_ms()
        ticket = ticket_in(request.query_string)
        if ticket is None:
            return await world.keys.identify(request.headers.get("authorization", ""), address, now_ms)
        if streams != EVENT_STREAM or EVENT_STREAM not in request.headers.get("accept", ""):
            raise world.tickets.refused(address, now_ms)
        return await world.tickets.identify(ticket, address, now_ms)


def _target(request: Request) -> str:
    return request.target or request.parts.get("runId", "")


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def create_app(
    engine: Engine, *, limits: ServerSettings | None = None, api_key: str | None = None, no_auth: bool = False,
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]"), origins: tuple[str, ...] = (),
) -> App:  # fmt: skip
    """Return the application.

    Args:
        engine: Opened by whoever calls this, before the first request. Its keys, if it has any, are those that are taken.
        limits: What it takes; from the environment if not given.
        api_key: A key that may do everything, besides those.
        no_auth: Take requests without a key.
        hosts: Names by which it may be addressed; ``"*"`` stands for every IP address.
        origins: Web pages that may send requests, besides its own.
    """
    limits = limits or ServerSettings.from_environment()
    book = engine if isinstance(engine, KeyBook) else None
    audit = Audit(book, days=limits.audit_days, refusals_max=limits.refusals_noted_per_minute_max)
    keys = Keys(book, audit, fixed=api_key, is_open=no_auth, failures_max=limits.failed_keys_per_minute_max)
    tickets = Tickets(book, keys, limits)
    return App(World(engine, limits=limits, keys=keys, tickets=tickets, audit=audit, pages=pages), Gate(hosts, origins))
