"""Through a pooler in transaction mode: it is noticed, nothing is left in a session, and everything works but notifications."""

import asyncio
import logging

import pytest

from stepwell.clock import Clock
from stepwell.settings import Settings
from stepwell.store.postgres import PostgresStore
from tests import postgres
from tests.store.acting import Node, SetClock


def a_store(url: str, **settings: int) -> PostgresStore:
    return PostgresStore(url, clock=Clock(), settings=Settings(**settings))


@pytest.mark.parametrize("option", ["", "&prepared=off"])
async def test_a_pooler_is_noticed_and_told(pooled_url: str, option: str):
    store = a_store(pooled_url + option)
    await store.open()
    assert store.about.endswith(" behind a pooler")
    await store.close()


async def test_settings_of_the_address_hold_in_every_session_and_stay_in_none(pooled_url: str):
    store = a_store(f"{pooled_url}&work_mem=1234kB&options=-c%20datestyle%3DGerman%5C,%5C%20DMY&application_name=it%27s")
    await store.open()
    asked = "SELECT current_setting('work_mem'), current_setting('datestyle'), current_setting('application_name')"
    for _ in range(8):  # more than the pooler has sessions
        async with store._pool.lend() as wire:
            assert tuple((await wire.fetch(asked))[0]) == ("1234kB", "German, DMY", "it's")
    left = postgres.sql(pooled_url.partition("?")[0], "SELECT current_setting('work_mem')")
    assert left != [("1234kB",)]
    await store.close()


async def test_nodes_hear_of_each_other_and_say_once_that_it_takes_longer(pooled_url: str, caplog: pytest.LogCaptureFixture):
    stores = [a_store(pooled_url, poll_ms=60_000) for _ in range(2)]
    for store in stores:
        await store.open()
    nodes = [await Node(store, f"node-{place}", SetClock()).enrol() for place, store in enumerate(stores)]
    heard = asyncio.Event()
    with caplog.at_level(logging.WARNING):
        stores[1].watch(lambda _: heard.set())
        await heard.wait()
        for n in range(3):
            heard.clear()
            await nodes[0].commit(nodes[0].new(f"r{n}"))
            await heard.wait()
    assert [record.getMessage().count("pooler") for record in caplog.records if "pooler" in record.getMessage()] == [1]
    for store in stores:
        await store.close()


async def test_a_statement_that_fails_leaves_no_transaction_behind(pooled_url: str):
    store = a_store(pooled_url)
    await store.open()
    async with store._pool.lend() as wire:
        with pytest.raises(Exception, match="division by zero"):
            await wire.fetchval("SELECT 1 / $1::bigint", 0)
        assert not wire.is_in_transaction()
        assert await wire.fetchval("SELECT 1 + $1::bigint", 1) == 2
    await store.close()
