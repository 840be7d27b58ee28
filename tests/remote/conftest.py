"""A server on a thread of its own, a proxy before it, and clients that reach it through the proxy."""

from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from stepwell import AsyncClient, Settings
from tests.background import Background, served_aside
from tests.clients import file_url, may_block_the_loop
from tests.proxy import Proxy

__all__ = ["client", "direct", "file_url", "limits", "may_block_the_loop", "proxied", "proxy", "server", "settings"]


@pytest.fixture
def settings() -> Settings:
    """What server and clients are set to."""
    return Settings(waiting_shown_ms=1)


@pytest.fixture
def limits() -> dict[str, int]:
    """What the server is set to: it soon gives up a worker that says nothing. A parametrisation replaces it."""
    return {"worker_silence_ms": 800}


@pytest.fixture
def server(file_url: str, settings: Settings, limits: dict[str, int]) -> Iterator[Background]:
    """A server over a file."""
    with served_aside(file_url, settings, **limits) as server:
        yield server


@pytest.fixture
async def proxy(server: Background) -> AsyncIterator[Proxy]:
    """What lies between."""
    parts = urlsplit(server.url)
    async with Proxy(parts.hostname or "", parts.port or 0) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: Proxy) -> str:
    """The server's URL, by way of the proxy."""
    return f"http://127.0.0.1:{proxy.port}"


@pytest.fixture
async def client(proxied: str, settings: Settings) -> AsyncIterator[AsyncClient]:
    """A client whose connections a test can cut."""
    async with AsyncClient(proxied, settings=settings) as client:
        yield client


@pytest.fixture
async def direct(server: Background, settings: Settings) -> AsyncIterator[AsyncClient]:
    """A client whose connections nobody cuts."""
    async with AsyncClient(server.url, settings=settings) as client:
        yield client
