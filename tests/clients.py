"""Clients for tests of the public surface, one for each kind of store that a URL can name.

With "http" the same tests run on a server and a worker that is connected to it.
Whatever a test did, the store must hold together when it is over.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from stepwell import AsyncClient, Settings
from tests.background import served_aside

PATIENCE_S = 30
"""How long a test waits for what must come before it says that it never came. No measure of anything."""


@pytest.fixture
def settings() -> Settings:
    """What the client's node is set to; a test module or a parametrisation replaces it."""
    return Settings(waiting_shown_ms=1)


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """A store that survives its clients."""
    return f"sqlite:///{tmp_path / 'app.db'}"


URLS = ("memory", "sqlite", "postgres", "http")


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, file_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each kind of store in turn, and a server over one."""
    if request.param == "http":
        with served_aside(file_url, settings) as server:
            yield server.url
    elif request.param in ("postgres", "pgbouncer"):
        monkeypatch.setenv("STEPWELL_HOOK_KEY", "a secret that the nodes share")
        yield request.getfixturevalue("cleared_url" if request.param == "postgres" else "pooled_url")
    else:
        yield "memory://" if request.param == "memory" else file_url


@pytest.fixture
async def client(url: str, settings: Settings) -> AsyncIterator[AsyncClient]:
    """An open client."""
    async with AsyncClient(url, settings=settings) as client:
        yield client
        if not url.startswith("http"):
            assert await client.check_store() == []


@pytest.fixture
def may_block_the_loop(_nothing_blocks_the_loop: BlockBuster) -> None:
    """For tests whose user blocks a loop of their own."""
    _nothing_blocks_the_loop.deactivate()
