"""The application: what passes its gate is routed, its scope is checked, its handler asked, and every error is a problem."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from stepwell.clock import Clock
from stepwell.engine.api import Engine
from stepwell.errors import PermissionDeniedError, StepwellError
from stepwell.server.answers import Answer
from stepwell.server.gate import Gate, respond
from stepwell.server.keys import Keys
from stepwell.server.pages import pages
from stepwell.server.problems import Problem, internal, problem_of
from stepwell.server.requests import Disconnected, Receive, Request, Send
from stepwell.server.sockets import Socket, offered
from stepwell.server.table import ROUTES, SOCKETS, Access, Route, Router
from stepwell.server.world import World
from stepwell.settings import ServerSettings

_log: Final = logging.getLogger("stepwell.server")


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
        try:
            answer = await self._answer(request, scope)
        except Disconnected:
            return
        await respond(request, answer, send, closes=not await request.drain())

    async def _answer(self, request: Request, scope: Mapping[str, Any]) -> Answer:
        try:
            self._gate.check(request, scope)
            route = self._route(request)
            await self._authorize(request, route.access)
            return await route.handler(request)
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
            await self._authorize(request, route.access)
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

    async def _authorize(self, request: Request, access: Access) -> None:
        """Deny by default: a route names its scope, or does not exist."""
        if access in {"public", "hook token"}:
            return
        request.identity = await self.world.keys.identify(request.headers.get("authorization", ""), request.address)
        if not request.identity.may(access):
            raise PermissionDeniedError(f"this key lacks the scope {access!r}")


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
        engine: Opened by whoever calls this, before the first request.
        limits: What it takes; from the environment if not given.
        api_key: A key that may do everything.
        no_auth: Take requests without a key.
        hosts: Names by which it may be addressed, besides IP addresses where it listens on all; see ``docs/server.md``.
        origins: Web pages that may send requests, besides its own.
    """
    limits = limits or ServerSettings.from_environment()
    keys = Keys(Clock().now_ms, fixed=api_key, is_open=no_auth, failures_max=limits.failed_keys_per_minute_max)
    return App(World(engine, limits=limits, keys=keys, pages=pages), Gate(hosts, origins))
