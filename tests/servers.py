"""A live server for tests: the real application behind a real socket, on the loop of the test."""

import contextlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from stepwell import AsyncClient, Settings
from stepwell.connect import connect
from stepwell.engine.api import Engine
from stepwell.server.app import App, create_app
from stepwell.server.serving import listen, served
from stepwell.settings import ServerSettings

KEY = "swk_testtest_0123456789012345678901234567890123456789012"


@dataclass
class Live:
    """A running server."""

    url: str
    app: App
    engine: Engine


@contextlib.asynccontextmanager
async def serving(engine: Engine, **options: Any) -> AsyncIterator[Live]:
    """Serve an open engine on a free port. Options are those of ``create_app``."""
    options.setdefault("limits", ServerSettings())
    options.setdefault("api_key", None if options.get("no_auth") else KEY)
    app = create_app(engine, **options)
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    async with served(app, listening):
        yield Live(f"http://127.0.0.1:{port}", app, engine)


@pytest.fixture
def settings() -> Settings:
    """What the server's node is set to."""
    return Settings(waiting_shown_ms=1)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """An engine in memory, open; whatever a test did to it, it must hold together when the test is over."""
    engine = connect("memory://", settings=settings)
    await engine.open()
    yield engine
    problems = await engine.check()
    await engine.close()
    assert problems == []


@pytest.fixture
async def live(engine: Engine) -> AsyncIterator[Live]:
    """A server that wants a key."""
    async with serving(engine) as live:
        yield live


class Http:
    """Asks a server, with a key."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def __call__(
        self, method: str, path: str, body: Any = None, *, status: int | None = None, data: bytes | None = None, **options: Any
    ) -> Any:
        """Ask, and return the JSON of the answer; or the whole answer, read, if no status is expected."""
        if body is not None:
            options["data"] = io.BytesIO(json.dumps(body, ensure_ascii=False).encode())
            options["headers"] = {"Content-Type": "application/json"} | options.get("headers", {})
        if data is not None:
            options["data"] = io.BytesIO(data)
        async with self.session.request(method, self.url + path, **options) as answer:
            text = await answer.read()
            if status is None:
                return answer
            assert answer.status == status, f"{answer.status}: {text.decode(errors='replace')}"
            return await answer.json(content_type=None) if text else None


@contextlib.asynccontextmanager
async def asking(live: Live, key: str | None = KEY) -> AsyncIterator[Http]:
    """Talk to a server with a key, or with none."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield Http(live.url, session)


@pytest.fixture
async def http(live: Live) -> AsyncIterator[Http]:
    """Something to ask the server with."""
    async with asking(live) as http:
        yield http


def client_of(engine: Engine) -> AsyncClient:
    """Return a client on an engine that is open already: what is done through it happens in the server's own process."""
    client = AsyncClient("memory://")
    client._engine = engine
    return client
