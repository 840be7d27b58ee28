"""Databases that lack something: it is found out at start, and done without."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stepwell import AsyncClient, Settings
from stepwell.errors import StepwellError, ValidationError
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_capabilities import SWITCHES
from tests import postgres
from tests.store.acting import Node, SetClock

Opener = Callable[[str], Awaitable[PostgresStore]]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    stores: list[PostgresStore] = []

    async def open_store(url: str) -> PostgresStore:
        stores.append(PostgresStore(url, clock=SetClock(), settings=Settings()))
        await stores[-1].open()
        return stores[-1]

    yield open_store
    for store in stores:
        await store.close()


@pytest.mark.parametrize("options", ["without=locks", "rows_max=many", "bytes_max=-1"])
def test_what_no_database_can_lack_is_refused(options: str):
    with pytest.raises(ValidationError, match=options.partition("=")[0]):
        parse_address(f"postgresql://h/d?{options}")


async def test_postgresql_lacks_nothing(opened: Opener, postgres_url: str):
    store = await opened(postgres_url)
    assert store.has.missing == []
    assert store.about.startswith("PostgreSQL ")
    assert "without" not in store.about


async def test_what_is_switched_off_is_told(opened: Opener, postgres_url: str):
    store = await opened(f"{postgres_url}&without=notify,skip_locked")
    assert store.about.endswith(", without notify, skip_locked")


async def test_rows_that_cannot_be_locked_are_found_out_at_start(opened: Opener, postgres_url: str):
    await opened(postgres_url)
    postgres.sql(postgres_url, "ALTER TABLE runs RENAME TO kept")
    postgres.sql(postgres_url, "CREATE VIEW runs AS SELECT DISTINCT * FROM kept")
    postgres.sql(postgres_url, "CREATE RULE unchanged AS ON UPDATE TO runs DO INSTEAD NOTHING")
    assert {"skip_locked", "multi_row_for_update"} <= set((await opened(postgres_url)).has.missing)


@pytest.mark.parametrize("lacking", SWITCHES)
async def test_work_is_done_without_any_one_of_them(opened: Opener, postgres_url: str, lacking: str):
    store = await opened(f"{postgres_url}&without={lacking}")
    assert store.has.missing == [lacking]
    node = await Node(store, "node", SetClock()).enrol()
    await node.commit(*(node.new(f"r{n}") for n in range(3)))
    assert await node.claimed() == ["r0", "r1", "r2"]
    await node.commit(*(node.progress(f"r{n}", node.event(), final=node.final()) for n in range(3)), node.put("r0"))
    assert await node.types("r0") == ["run_created", "run_started", "step_completed", "run_completed"]
    assert await store.check() == []


@pytest.mark.parametrize("limit", ["rows_max=50", "bytes_max=20000"])
async def test_what_is_too_much_for_one_transaction_is_divided(postgres_url: str, limit: str):
    async with AsyncClient(f"{postgres_url}&{limit}") as client:
        runs = await asyncio.gather(*(client.workflow.trigger("later", {"n": n}) for n in range(200)))
        assert len({run.run_id for run in runs}) == 200
        assert (await client.workflow.stats()).runs["pending"] == 200
        assert await client.check_store() == []


async def test_what_cannot_be_divided_is_refused_by_the_name_of_the_limit(opened: Opener, postgres_url: str):
    store = await opened(f"{postgres_url}&rows_max=1")
    node = await Node(store, "node", SetClock()).enrol()
    with pytest.raises(StepwellError, match="rows_max=1"):
        await node.commit(node.new("r"))
    assert await store.find_run("r") is None
