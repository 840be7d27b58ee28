"""Keys and the audit log over HTTP: who may make which, and who may read what was done."""

import json
from typing import Any

import pytest

from stepwell import PermissionDeniedError, ValidationError
from stepwell.connect import connect
from stepwell.engine.access_calls import KeyDesk, NewKey
from stepwell.engine.api import Engine
from stepwell.server.keys import new_key
from tests.servers import KEY, Http, Live, asking, serving

KEYS = "/api/keys"
AUDIT = "/api/audit"
RUNS = "/api/workflows/runs"


async def _key(engine: Any, *scopes: str, workflows: tuple[str, ...] = ()) -> str:
    shown, row = new_key(NewKey(name="test", scopes=scopes, workflows=workflows), now_ms=engine.now_ms())
    assert await engine.keep_key(row)
    return shown


async def test_a_key_that_was_made_is_shown_once_and_counts_until_it_is_revoked(live: Live, http: Http):
    body = {"name": "shop", "scopes": ["read", "records:notes:r", "read"], "workflows": ["order-"], "expires": "1d"}
    made = await http("POST", KEYS, body, status=201)
    assert made["scopes"] == ["read", "records:notes:r"]
    assert made["key"].startswith(f"swk_{made['keyId']}_")
    secret = made.pop("key")
    assert (await http("GET", KEYS, status=200))["items"] == [made]
    async with asking(live, secret) as shop:
        await shop("GET", f"{RUNS}?workflowName=order-1", status=200)
        await shop("POST", KEYS, body, status=403)
    revoked = await http("DELETE", f"{KEYS}/{made['keyId']}", status=200)
    assert revoked["revokedAt"] is not None
    assert await http("DELETE", f"{KEYS}/{made['keyId']}", status=200) == revoked | {"usedAt": revoked["usedAt"]}
    await http("DELETE", f"{KEYS}/00000000", status=404)
    engine: Any = live.engine
    told = [(row.who, row.action, row.target, row.result) for row in await engine.audit("", 10)]
    assert ("environment", "createKey", made["keyId"], "201") in told
    assert ("environment", "revokeKey", made["keyId"], "200") in told


async def test_a_key_is_good_at_once_at_the_server_that_has_made_it(live: Live, http: Http):
    async with asking(live, new_key(NewKey(name="n", scopes=["read"]), now_ms=1)[0]) as unknown:
        await unknown("GET", RUNS, status=401)
    made = await http("POST", KEYS, {"name": "n", "scopes": ["read"]}, status=201)
    async with asking(live, made["key"]) as reader:
        await reader("GET", RUNS, status=200)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"), ({"scopes": []}, "/scopes"), ({"scopes": ["read", "write"]}, "/scopes/1"),
        ({"scopes": ["records:notes"]}, "/scopes/0"), ({"scopes": ["read"] * 101}, "/scopes"),
        ({"workflows": [""]}, "/workflows/0"), ({"workflows": ["a\n"]}, "/workflows/0"),
        ({"workflows": ["w"] * 101}, "/workflows"),
        ({"expires": "soon"}, "/expires"), ({"triggersPerSecond": 0}, "/triggersPerSecond"),
        ({"triggersPerSecond": 0.5}, "/triggersPerSecond"), ({"secret": "mine"}, "/secret"),
    ],
)  # fmt: skip
async def test_a_key_that_makes_no_sense_is_refused_and_the_field_is_named(http: Http, change: dict[str, Any], pointer: str):
    problem = await http("POST", KEYS, {"name": "n", "scopes": ["read"]} | change, status=422)
    assert problem["errors"][0]["pointer"] == pointer
    assert (await http("GET", KEYS, status=200))["items"] == []


async def test_a_key_of_some_workflows_makes_no_wider_one_and_sees_no_wider_one(live: Live, http: Http):
    wide = await http("POST", KEYS, {"name": "wide", "scopes": ["admin"]}, status=201)
    other = await http("POST", KEYS, {"name": "other", "scopes": ["read"], "workflows": ["mail-", "pay-"]}, status=201)
    key = await _key(live.engine, "admin", workflows=("mail-",))
    async with asking(live, key) as limited:
        for workflows, place in (([], "workflows"), (["pay-"], "workflows/0"), (["mail-x", "mail"], "workflows/1")):
            problem = await limited("POST", KEYS, {"name": "n", "scopes": ["read"], "workflows": workflows}, status=403)
            assert place in problem["detail"]
        made = await limited("POST", KEYS, {"name": "n", "scopes": ["admin"], "workflows": ["mail-in-"]}, status=201)
        shown = {each["keyId"] for each in (await limited("GET", KEYS, status=200))["items"]}
        assert shown == {key[4:12], made["keyId"]}
        for hidden in (wide, other):
            await limited("DELETE", f"{KEYS}/{hidden['keyId']}", status=404)
        await limited("DELETE", f"{KEYS}/{made['keyId']}", status=200)
        await limited("GET", AUDIT, status=403)
        await limited("GET", "/api/workflows/check", status=403)
    assert {each["keyId"]: each["revokedAt"] for each in (await http("GET", KEYS, status=200))["items"]}[wide["keyId"]] is None


async def test_the_audit_log_is_read_page_by_page_or_whole(live: Live, http: Http):
    for number in range(5):
        await http("POST", KEYS, {"name": f"n{number}", "scopes": ["read"]}, status=201)
    entries: list[Any] = []
    cursor = ""
    while True:
        page = await http("GET", f"{AUDIT}?limit=2{cursor}", status=200)
        entries += page["items"]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert [entry["action"] for entry in entries] == ["createKey"] * 5
    assert entries[0]["at"].endswith("Z")
    async with http.session.get(http.url + AUDIT, headers={"Accept": "application/x-ndjson"}) as answer:
        assert answer.content_type == "application/x-ndjson"
        lines = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert lines[:5] == entries
    assert lines[5]["action"] == "listAudit", "who takes all of it away is noted, too"
    await http("GET", f"{AUDIT}?cursor=x", status=422)


async def test_keys_are_made_through_the_engine_of_a_server(engine: Engine):
    async with serving(engine) as live:
        remote = connect(live.url, api_key=KEY)
        await remote.open()
        assert isinstance(remote, KeyDesk)
        made = await remote.create_key(NewKey(name="n", scopes=["read"], expires_ms=86_400_000, triggers_per_second=7))
        (listed,) = await remote.list_keys()
        assert (listed.key_id, listed.triggers_per_second) == (made.key_id, 7)
        assert listed.expires_at is not None
        assert (listed.expires_at - listed.created_at).days == 1
        with pytest.raises(ValidationError) as refused:
            await remote.create_key(NewKey(name="n", scopes=["all"]))
        assert refused.value.field == "scopes/0"
        assert (await remote.revoke_key(made.key_id)).revoked_at is not None
        await remote.close()
        limited = connect(live.url, api_key=await _key(engine, "admin", workflows=("mail-",)))
        await limited.open()
        assert isinstance(limited, KeyDesk)
        with pytest.raises(PermissionDeniedError, match="workflows"):
            await limited.create_key(NewKey(name="n", scopes=["read"]))
        await limited.close()
