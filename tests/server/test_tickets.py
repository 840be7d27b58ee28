"""Tickets: what opens one event stream in the place of a key."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from stepwell.connect import connect
from stepwell.engine.api import Engine
from stepwell.settings import ServerSettings
from tests.server.test_keys import _key
from tests.servers import KEY, Http, Live, asking, serving

RUNS = "/api/workflows/runs"
NOTES = "/api/collections/notes/records"
TICKETS = "/api/tickets"
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
async def nobody(live: Live, http: Http) -> AsyncIterator[Http]:
    """Somebody without a key; there is a run ``r``."""
    await http("POST", RUNS, {"workflowName": "mail-send", "runId": "r"}, status=201)
    async with asking(live, None) as nobody:
        yield nobody


async def _ticket(http: Http) -> str:
    return (await http("POST", TICKETS, status=201))["ticket"]


async def _opened(http: Http, path: str, ticket: str) -> int:
    """Open a stream, and return with which status."""
    async with http.session.get(f"{http.url}{path}?ticket={ticket}", headers=EVENTS) as answer:
        return answer.status


async def test_a_ticket_opens_one_stream(http: Http, nobody: Http):
    made = await http("POST", TICKETS, status=201)
    assert made["ticket"].startswith("swt_environment_")
    assert made["expiresAt"].endswith("Z")
    async with nobody.session.get(f"{http.url}{RUNS}/r/events?after=0&ticket={made['ticket']}", headers=EVENTS) as stream:
        assert stream.status == 200
        await stream.content.readuntil(b"run_created")
        problem = await nobody("GET", f"{RUNS}/r/events?ticket={made['ticket']}", headers=EVENTS, status=401)
        assert problem["code"] == "authentication"
    assert await _opened(nobody, f"{RUNS}/r/events", await _ticket(http)) == 200


async def test_of_many_who_show_one_ticket_at_once_one_is_let_in(http: Http, nobody: Http):
    ticket = await _ticket(http)
    statuses = await asyncio.gather(*(_opened(nobody, f"{RUNS}/r/events", ticket) for _ in range(10)))
    assert sorted(statuses) == [200] + [401] * 9


async def test_a_ticket_is_good_at_every_server_on_a_store_and_only_once(postgres_url: str):
    engines = [connect(postgres_url), connect(postgres_url)]
    for engine in engines:
        await engine.open()
    async with serving(engines[0]) as first, serving(engines[1]) as second, asking(first) as http, asking(second, None) as there:
        await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
        async with asking(first, None) as here:
            assert await _opened(there, f"{RUNS}/r/events", await _ticket(http)) == 200
            ticket = await _ticket(http)
            statuses = await asyncio.gather(*(_opened(each, f"{RUNS}/r/events", ticket) for each in (here, there) * 5))
            assert sorted(statuses) == [200] + [401] * 9
    for engine in engines:
        await engine.close()


async def test_a_ticket_may_what_its_key_may_and_no_more(live: Live, http: Http, nobody: Http):
    await http("POST", RUNS, {"workflowName": "pay", "runId": "other"}, status=201)
    limited, notes = await _key(live.engine, "read", workflows=("mail-",)), await _key(live.engine, "records:notes:r")
    async with asking(live, limited) as mail, asking(live, notes) as reader:
        for path, asker, status in (
            (f"{RUNS}/r/events", mail, 200), (f"{RUNS}/other/events", mail, 404), (NOTES, mail, 403),
            (NOTES, reader, 200), ("/api/collections/others/records", reader, 403), (f"{RUNS}/r/events", reader, 403),
        ):  # fmt: skip
            assert await _opened(nobody, path, await _ticket(asker)) == status, path


async def test_a_ticket_ends_with_its_key(live: Live, nobody: Http, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stepwell.server.streams._BEAT_S", 0.05)
    monkeypatch.setattr("stepwell.server.keys._FRESH_MS", 0)
    key = await _key(live.engine, "read")
    async with asking(live, key) as reader:
        used, unused = await _ticket(reader), await _ticket(reader)
    async with nobody.session.get(f"{live.url}{RUNS}/r/events?ticket={used}", headers=EVENTS) as stream:
        await stream.content.readuntil(b"run_created")
        engine: Any = live.engine
        await engine.end_key(key[4:12])
        await stream.content.read()
    assert await _opened(nobody, f"{RUNS}/r/events", unused) == 401


async def test_a_ticket_that_is_late_or_wrong_or_for_something_else_is_refused_in_one_way(engine: Engine):
    async with serving(engine, limits=ServerSettings(ticket_ms=1)) as live, asking(live) as http, asking(live, None) as nobody:
        await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
        late = await http("POST", TICKETS, status=201)
        while engine.now_ms() < _ms(late["expiresAt"]):
            await asyncio.sleep(0.001)
        said: set[str] = set()
        for ticket in (late["ticket"], f"swt_environment_{'x' * 43}", "swt_", "", "%00", KEY):
            said.add((await nobody("GET", f"{RUNS}/r/events?ticket={ticket}", headers=EVENTS, status=401))["detail"])
    async with serving(engine) as live, asking(live) as http, asking(live, None) as nobody:
        ticket = await _ticket(http)
        for method, path, headers in (
            ("GET", f"{RUNS}/r/events", {}), ("GET", f"{RUNS}/r", EVENTS), ("GET", RUNS, EVENTS), ("DELETE", f"{RUNS}/r", EVENTS),
            ("POST", TICKETS, EVENTS), ("GET", "/api/audit", {"Accept": "application/x-ndjson"}),
        ):  # fmt: skip
            said.add((await nobody(method, f"{path}?ticket={ticket}", headers=headers, status=401))["detail"])
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await nobody.session.ws_connect(f"{live.url}/api/workflows/worker?ticket={ticket}", protocols=("stepwell.v1",))
        assert refused.value.status == 401
        assert await _opened(nobody, f"{RUNS}/r/events", ticket) == 200, "what has refused it has not used it up"
    assert len(said) == 1


async def test_a_key_in_the_url_is_refused_also_beside_a_ticket(http: Http, nobody: Http):
    ticket = await _ticket(http)
    for name in ("token", "key", "api_key", "access_token"):
        await http("GET", f"{RUNS}/r/events?{name}={KEY}", headers=EVENTS, status=400)
    await nobody("GET", f"{RUNS}/r/events?ticket={ticket}&token={KEY}", headers=EVENTS, status=400)


async def test_who_shows_many_wrong_tickets_must_wait_and_is_in_the_audit_log(live: Live, nobody: Http):
    for _ in range(live.app.world.limits.failed_keys_per_minute_max):
        assert await _opened(nobody, f"{RUNS}/r/events", "swt_x_y") == 401
    assert await _opened(nobody, f"{RUNS}/r/events", "swt_x_y") == 429
    engine: Any = live.engine
    assert {(row.action, row.result) for row in await engine.audit("", 100)} == {("listEvents", "authentication")}


async def test_a_key_has_so_many_unused_tickets_and_no_more(engine: Engine):
    async with serving(engine, limits=ServerSettings(tickets_per_key_max=2)) as live, asking(live) as http:
        for _ in range(2):
            await http("POST", TICKETS, status=201)
        assert (await http("POST", TICKETS, status=429))["limit"] == "tickets_per_key_max"


async def test_who_has_no_key_gets_no_ticket_and_where_none_is_needed_they_are_made_all_the_same(engine: Engine, nobody: Http):
    await nobody("POST", TICKETS, status=401)
    async with serving(engine, no_auth=True) as live, asking(live, None) as anybody:
        assert await _opened(anybody, f"{RUNS}/r/events", await _ticket(anybody)) == 200


async def test_changes_of_records_go_on_behind_a_number(http: Http, nobody: Http):
    for name in "abc":
        await http("POST", NOTES, {"id": name}, status=201)
    async with nobody.session.get(f"{http.url}{NOTES}?after=1&ticket={await _ticket(http)}", headers=EVENTS) as stream:
        frame = (await stream.content.readuntil(b'"id":"b"')).decode()
    assert "event: create" in frame
    assert '"id":"a"' not in frame


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
