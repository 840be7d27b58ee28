"""Connections to PostgreSQL that end in strange ways."""

import asyncio
from urllib.parse import urlsplit

import pytest

from stepwell import AsyncClient
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_connect import connect
from stepwell.store.postgres_wire import Wire, is_lost
from tests.proxy import Proxy


async def test_a_connection_of_which_the_server_has_taken_leave_is_lost_before_its_end_arrives(postgres_dsn: str):
    # A process that was frozen within a transaction: the server has ended the session meanwhile, and says so unasked.
    parts = urlsplit(postgres_dsn)
    async with Proxy(parts.hostname or "", parts.port or 5432) as proxy:
        here = parts._replace(netloc=f"postgres@127.0.0.1:{proxy.port}").geturl()
        wire = await connect(parse_address(here), 10)
        await wire.execute("SET idle_in_transaction_session_timeout = 50; BEGIN")
        proxy.delay(0.5, "down")
        with pytest.raises(Exception, match=r"\w") as caught:  # noqa: PT012 - the first statement after the farewell
            while not wire.is_closed():
                await _sends(wire)
        assert is_lost(caught.value)
        wire.terminate()


async def _sends(wire: Wire) -> None:
    await asyncio.sleep(0.7)
    await wire.execute("SELECT 1")


async def test_a_client_that_is_cut_off_while_the_schema_is_made_makes_it_at_its_next_attempt(postgres_url: str):
    parts = urlsplit(postgres_url)
    async with Proxy(parts.hostname or "", parts.port or 5432) as proxy:
        proxy.cut_before("up", b"CREATE TABLE")
        async with AsyncClient(parts._replace(netloc=f"postgres@127.0.0.1:{proxy.port}").geturl()) as client:
            assert (await client.workflow.stats()).claimable == 0
        assert proxy.cuts == 1
