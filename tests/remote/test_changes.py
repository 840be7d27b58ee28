"""Following what becomes of records over connections that are cut, silent, or end with their server: nothing is missed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from stepwell import AsyncClient, ConflictError, RecordChange, Settings
from stepwell.remote import streams as read_streams
from stepwell.server import streams
from stepwell.store import recording
from tests.background import served_aside
from tests.clients import PATIENCE_S
from tests.proxy import Proxy


async def told(changes: AsyncIterator[RecordChange], count: int) -> list[RecordChange]:
    """Return what is told next."""
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(changes) for _ in range(count)]


def ids(changes: list[RecordChange]) -> list[tuple[str, Any]]:
    return [(change.action, change.record["id"]) for change in changes]


async def test_nothing_is_missed_nor_told_twice_over_connections_that_are_cut(
    client: AsyncClient, direct: AsyncClient, proxy: Proxy
):  # fmt: skip
    notes, cuts = direct.collection("notes"), 0
    async with client.collection("notes").subscribe("n >= 0") as changes:
        for n in range(30):
            await notes.create_many([{"id": f"{n:02}-{place}", "n": n} for place in range(3)])
            if n % 3 == 0:
                cuts += proxy.cut()
            first, second = await told(changes, 2)
            if n % 3 == 1:
                cuts += proxy.cut()  # in the middle of what one commit has written
            await notes.create({"id": f"{n:02}-x"})  # which does not fit
            (third,) = await told(changes, 1)
            assert ids([first, second, third]) == [("create", f"{n:02}-{place}") for place in range(3)]
    assert cuts > 10


async def test_what_is_written_while_the_server_is_away_is_told_when_it_is_back(file_url: str, settings: Settings):
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    port = urlsplit(first.enter_context(served_aside(file_url, settings)).url).port or 0
    async with Proxy("127.0.0.1", port) as proxy, AsyncClient(f"http://127.0.0.1:{proxy.port}", settings=settings) as client:
        async with client.collection("notes").subscribe() as changes:
            await client.collection("notes").create({"id": "before"})
            assert ids(await told(changes, 1)) == [("create", "before")]
            coming = asyncio.ensure_future(told(changes, 3))
            await asyncio.to_thread(first.close)
            async with AsyncClient(file_url) as meanwhile:
                await meanwhile.collection("notes").create_many([{"id": "while"}, {"id": "meanwhile"}])
            server = await asyncio.to_thread(second.enter_context, served_aside(file_url, settings))
            proxy.aim("127.0.0.1", urlsplit(server.url).port or 0)
            await client.collection("notes").delete("before")
            assert ids(await coming) == [("create", "while"), ("create", "meanwhile"), ("delete", "before")]
    await asyncio.to_thread(second.close)


async def test_a_connection_that_is_silent_is_given_up_for_another(
    client: AsyncClient, direct: AsyncClient, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    monkeypatch.setattr(streams, "_BEAT_S", 0.1)
    monkeypatch.setattr(read_streams, "DEAF_S", 0.5)
    async with client.collection("notes").subscribe() as changes:
        coming = asyncio.ensure_future(told(changes, 1))
        accepted = proxy.accepted
        proxy.silence("down")
        await direct.collection("notes").create({"id": "a"})
        while proxy.accepted == accepted:
            await asyncio.sleep(0.01)
        proxy.heal()
        assert ids(await coming) == [("create", "a")]


async def test_a_filter_that_fits_little_loses_its_place_no_more_than_one_that_fits_all(
    client: AsyncClient, direct: AsyncClient, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    monkeypatch.setattr(streams, "_BEAT_S", 0.05)
    monkeypatch.setattr(recording, "CHANGES_KEPT", 10)
    notes = direct.collection("notes")
    async with client.collection("notes").subscribe("id = 'wanted'") as changes:
        coming = asyncio.ensure_future(told(changes, 1))
        for n in range(210):  # of which a hundred are forgotten each time a hundred more have come
            await notes.upsert({"id": "other", "n": n})
        for _ in range(3):
            await asyncio.sleep(0.1)
            proxy.cut()
        await notes.create({"id": "wanted"})
        assert ids(await coming) == [("create", "wanted")]


async def test_who_asks_for_what_is_forgotten_or_has_never_been_is_told_so(
    client: AsyncClient, direct: AsyncClient, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    monkeypatch.setattr(recording, "CHANGES_KEPT", 10)
    for _ in range(100):
        await direct.collection("notes").upsert({"id": "a"})
    for after in (0, 50, 101):
        with pytest.raises(ConflictError):
            await told(client.collection("notes").subscribe(after=after), 1)
    assert ids(await told(client.collection("notes").subscribe(after=99), 1)) == [("update", "a")]
