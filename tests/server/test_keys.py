"""Keys: what each may do, which workflows it may touch, and how it ends."""

import asyncio
import hashlib
from typing import Any

import pytest

from stepwell.engine.access_calls import NewKey
from stepwell.engine.api import Engine
from stepwell.server.keys import SCOPES, counts, new_key
from stepwell.server.table import ROUTES, SOCKETS, Route
from tests.servers import KEY, Http, Live, asking

RUNS = "/api/workflows/runs"
PARTS = {"{runId}": "r", "{stepId}": "s", "{token}": "swh.x", "{name}": "notes", "{recordId}": "a", "{keyId}": "00000000"}


async def _key(engine: Any, *scopes: str, workflows: tuple[str, ...] = (), expires_ms: int | None = None) -> str:
    shown, row = new_key(NewKey(name="test", scopes=scopes, workflows=workflows, expires_ms=expires_ms), now_ms=engine.now_ms())
    assert await engine.keep_key(row)
    return shown


def test_a_key_is_kept_as_the_hash_of_its_secret():
    shown, row = new_key(NewKey(name="name", scopes=["read"]), now_ms=1)
    prefix, key_id, secret = shown.split("_", 2)
    assert (prefix, key_id, len(key_id), len(secret)) == ("swk", row.key_id, 8, 43)
    assert row.secret_hash == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(row)
    assert new_key(NewKey(name="name", scopes=["read"]), now_ms=1)[0] != shown


def test_every_route_has_an_access_and_every_change_of_state_needs_a_scope():
    for route in ROUTES:
        assert route.access in {*SCOPES, "any key", "public", "hook token"}, route
        if route.method != "GET":
            assert route.access not in {"public", "read"}, route
    assert {route.path for route in ROUTES if route.access == "public"} == {
        "/healthz", "/readyz", "/openapi.json", "/docs", "/docs/style.css",
        "/approve", "/approve/style.css", "/approve/script.js",
    }  # fmt: skip
    assert [route.name for route in ROUTES if route.access == "any key"] == ["createTicket"]
    assert [route.access for route in SOCKETS] == ["worker"] * len(SOCKETS)


@pytest.mark.parametrize("route", [each for each in ROUTES if each.access in SCOPES], ids=lambda route: route.name)
async def test_a_key_with_every_scope_but_the_one_that_a_route_needs_is_refused(live: Live, route: Route):
    others = await _key(live.engine, *(scope for scope in SCOPES if scope not in {route.access, "admin"}))
    fitting = await _key(live.engine, route.access)
    path = route.path
    for part, value in PARTS.items():
        path = path.replace(part, value)
    async with asking(live, others) as refused, asking(live, fitting) as taken, asking(live, None) as nobody:
        assert (await refused(route.method, path, {}, status=403))["code"] == "permission_denied"
        assert (await nobody(route.method, path, {}, status=401))["code"] == "authentication"
        assert (await taken(route.method, path, {})).status not in {401, 403}


async def test_a_key_that_may_not_read_does_not_learn_what_becomes_of_what_it_triggers(live: Live):
    one, two = await _key(live.engine, "trigger"), await _key(live.engine, "trigger", "read")
    async with asking(live, one) as limited, asking(live, two) as both:
        refused = await limited("POST", f"{RUNS}?wait=1s", {"workflowName": "pay"}, status=403)
        assert "read" in refused["detail"]
        assert (await both("GET", RUNS, status=200))["items"] == []
        await both("POST", f"{RUNS}?wait=10ms", {"workflowName": "pay"}, status=201)


async def test_a_key_of_some_workflows_touches_no_run_of_others(live: Live, http: Http):
    await http("POST", RUNS, {"workflowName": "mail-send", "runId": "mine"}, status=201)
    await http("POST", RUNS, {"workflowName": "pay", "runId": "other", "parentRunId": "mine"}, status=201)
    key = await _key(live.engine, "read", "trigger", "signal", "operate", workflows=("mail-",))
    async with asking(live, key) as limited:
        await limited("POST", RUNS, {"workflowName": "mail-send", "runId": "new"}, status=201)
        await limited("POST", RUNS, {"workflowName": "pay"}, status=403)
        await limited("POST", RUNS, {"workflowName": "mail-send", "parentRunId": "other"}, status=404)
        batch = await limited(
            "POST", f"{RUNS}/batch", {"runs": [{"workflowName": "pay"}, {"workflowName": "mail-x"}]}, status=200
        )
        assert [each["status"] for each in batch["items"]] == [403, 201]
        assert (await limited("GET", f"{RUNS}/mine", status=200))["runId"] == "mine"
        for path in ("", "/events", "/why", "/hooks", "/children", "/parent"):
            await limited("GET", f"{RUNS}/other{path}", status=404)
        await limited("DELETE", f"{RUNS}/other", status=404)
        await limited("PATCH", f"{RUNS}/other", {"status": "paused"}, status=404)
        await limited("POST", f"{RUNS}/other/signals", {"name": "s"}, status=404)
        await limited("POST", f"{RUNS}/other/fork", {}, status=404)
        await limited("PUT", f"{RUNS}/other/steps/s", {"reason": "r"}, status=404)
        await limited("POST", "/api/workflows/events", {"runId": "other", "eventType": "e"}, status=404)
        await limited("POST", "/api/workflows/hooks", {"runId": "other", "name": "n", "action": "a"}, status=404)
        await limited("GET", RUNS, status=403)
        await limited("GET", f"{RUNS}?workflowName=pay", status=403)
        await limited("GET", f"{RUNS}?workflowName=mail-send", status=200)
        assert (await limited("GET", f"{RUNS}/mine/children", status=200))["items"] == []
        await limited("GET", "/api/workflows/stats", status=403)
        await limited("GET", "/metrics", status=403)
    assert (await http("GET", f"{RUNS}/other", status=200))["status"] == "pending"


async def test_a_wrong_secret_an_unknown_id_and_an_ended_key_are_answered_alike(live: Live):
    good = await _key(live.engine, "read")
    expired = await _key(live.engine, "read", expires_ms=0)
    unknown = f"swk_00000000_{good[13:]}"
    said: set[str] = set()
    for key in (good[:-1] + ("A" if good[-1] != "A" else "B"), unknown, expired, "nonsense", ""):
        async with asking(live, key) as http:
            problem = await http("GET", RUNS, status=401)
            said.add(problem["detail"])
    assert len(said) == 1
    async with asking(live, good) as http:
        await http("GET", RUNS, status=200)


async def test_a_revoked_key_ends_at_once_for_requests_and_soon_for_what_is_open(live: Live, http: Http, monkeypatch: Any):
    monkeypatch.setattr("stepwell.server.streams._BEAT_S", 0.05)
    monkeypatch.setattr("stepwell.server.keys._FRESH_MS", 0)
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    key = await _key(live.engine, "read")
    async with asking(live, key) as reader:
        polling = asyncio.create_task(reader("GET", f"{RUNS}/r?wait=60s", status=401))
        async with reader.session.get(f"{live.url}{RUNS}/r/events", headers={"Accept": "text/event-stream"}) as stream:
            await stream.content.readuntil(b"run_created")
            while live.app.world.waits < 2:
                await asyncio.sleep(0.01)
            engine: Any = live.engine
            assert await engine.end_key(key[4:12])
            assert not await engine.end_key(key[4:12])
            await stream.content.read()
        assert (await polling)["code"] == "authentication"
        await reader("GET", RUNS, status=401)
        assert live.app.world.waits == 0
    (row,) = await engine.keys()
    assert not counts(row, engine.now_ms())


async def test_a_key_is_good_for_many_requests_at_once_from_the_first_on(live: Live):
    async with asking(live, await _key(live.engine, "read")) as http:
        await asyncio.gather(*(http("GET", RUNS, status=200) for _ in range(10)))


async def test_when_a_key_was_used_last_is_kept(live: Live):
    engine: Any = live.engine
    key = await _key(engine, "read")
    async with asking(live, key) as http:
        await http("GET", RUNS, status=200)
    while (await engine.keys())[0].used_at is None:
        await asyncio.sleep(0.01)


async def test_what_was_done_by_whom_is_in_the_audit_log(live: Live, http: Http):
    engine: Any = live.engine
    key = await _key(engine, "operate", "read")
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    async with asking(live, key) as operator, asking(live, "wrong") as nobody:
        await operator("POST", RUNS, {"workflowName": "w"}, status=403)
        await nobody("GET", RUNS, status=401)
        hook = await http("POST", "/api/workflows/hooks", {"runId": "r", "name": "n", "action": "a"}, status=201)
        await nobody("POST", f"/api/workflows/hooks/{hook['token']}", True, status=200)
        await operator("DELETE", f"{RUNS}/r", status=202)
    rows = await engine.audit("", 100)
    assert [(row.who, row.action, row.target, row.result) for row in rows] == [
        (key[4:12], "useKey", key[4:12], "first"),
        (key[4:12], "triggerRun", "", "permission_denied"),
        ("", "listRuns", "", "authentication"),
        ("environment", "createHook", "r/n", "201"),
        ("", "executeHook", "r/n", "200"),
        (key[4:12], "cancelRun", "r", "202"),
    ]
    assert {row.address for row in rows} == {"127.0.0.1"}
    assert await engine.audit(rows[3].audit_id, 1) == [rows[4]]


async def test_the_fixed_key_is_as_good_as_one_of_the_store(engine: Engine, live: Live):
    async with asking(live, KEY) as http:
        await http("GET", "/metrics")
        await http("GET", RUNS, status=200)
