"""The stores that the contract is put to. A second one is one more line in ``store``."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from stepwell.settings import Settings
from stepwell.store.base import Store
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_capabilities import SWITCHES
from stepwell.store.sqlite import SqliteStore
from tests.clients import may_block_the_loop
from tests.store.acting import Node, SetClock

__all__ = ["may_block_the_loop"]


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store_settings() -> Settings:
    return Settings(messages_max=10)


@pytest.fixture(params=["sqlite", "memory", "postgres", "postgres-that-lacks-all", "pgbouncer"])
def unopened(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock, store_settings: Settings) -> Store:
    if request.param.startswith("postgres"):
        url = request.getfixturevalue("cleared_url")
        if request.param == "postgres-that-lacks-all":
            url += f"&without={','.join(SWITCHES)}"
        return PostgresStore(url, clock=clock, settings=store_settings)
    if request.param == "pgbouncer":
        return PostgresStore(request.getfixturevalue("pooled_url"), clock=clock, settings=store_settings)
    path = tmp_path / "store.db" if request.param == "sqlite" else None
    return SqliteStore(path, clock=clock, settings=store_settings)


@pytest.fixture
async def store(unopened: Store) -> AsyncIterator[Store]:
    store = unopened
    await store.open()
    yield store
    wrong = await store.check()
    await store.close()
    assert wrong == []


@pytest.fixture
async def node(store: Store, clock: SetClock) -> Node:
    return await Node(store, "node", clock).enrol()


@pytest.fixture
async def other(cleared_url: str) -> AsyncIterator[Any]:
    """A connection of somebody else."""
    connection = await asyncpg.connect(cleared_url)
    yield connection
    await connection.close()


@pytest.fixture
async def spy(cleared_url: str) -> AsyncIterator[Any]:
    """A connection of somebody who looks on."""
    connection = await asyncpg.connect(cleared_url)
    yield connection
    await connection.close()
