"""The audit log: every event that belongs in it leaves its entry, also where what was asked for is refused."""

from typing import Any

import pytest

from stepwell.engine.access_calls import NewKey
from stepwell.engine.api import Engine
from stepwell.server.keys import new_key
from stepwell.settings import ServerSettings
from tests.servers import Http, Live, asking, serving

RUNS = "/api/workflows/runs"
HOOKS = "/api/workflows/hooks"
NOTES = "/api/collections/notes"
HOOK = {"runId": "r", "name": "n", "action": "a"}


async def _key(engine: Any, *scopes: str) -> str:
    shown, row = new_key(NewKey(name="test", scopes=scopes), now_ms=engine.now_ms())
    assert await engine.keep_key(row)
    return shown


async def _noted(live: Live) -> list[tuple[str, str, str]]:
    engine: Any = live.engine
    return [(entry.action, entry.target, entry.result) for entry in await engine.audit("", 500)]


@pytest.mark.parametrize(
    ("asked", "entry"),
    [
        ([("PATCH", f"{RUNS}/r", {"tags": ["x"]})], ("updateRun", "r", "200")),
        ([("PATCH", f"{RUNS}/r", {"status": "paused"})], ("pauseRun", "r", "200")),
        ([("PATCH", f"{RUNS}/r", {"status": "paused", "priority": 2})], ("updateRun pauseRun", "r", "200")),
        ([("PATCH", f"{RUNS}/r", {"status": s}) for s in ("paused", "running")], ("resumeRun", "r", "200")),
        ([("PATCH", f"{RUNS}/r", {"status": "cancelled"})], ("cancelRun", "r", "200")),
        ([("DELETE", f"{RUNS}/r", None)], ("cancelRun", "r", "202")),
        ([("POST", f"{RUNS}/r/fork", {})], ("forkRun", "r", "201")),
        ([("POST", HOOKS, HOOK)], ("createHook", "r/n", "201")),
        ([("POST", f"{HOOKS}/{{token}}", True)], ("executeHook", "q/n", "200")),
        ([("PATCH", NOTES, {"indexes": []})], ("updateCollection", "notes", "200")),
        ([("DELETE", f"{NOTES}/records/a", None)], ("deleteRecord", "notes/a", "200")),
        (
            [("POST", f"{NOTES}/records:batch", {"writes": [{"action": "delete", "id": each} for each in "ab"]})],
            ("writeRecords", "notes/a notes/b", "200"),
        ),
        ([("POST", "/api/keys", {"name": "n", "scopes": ["read"]})], ("createKey", "{made}", "201")),
        ([("DELETE", "/api/keys/{key}", None)], ("revokeKey", "{key}", "200")),
        # What is refused, or fails:
        ([("PATCH", f"{RUNS}/nobody", {"status": "paused"})], ("pauseRun", "nobody", "not_found")),
        ([("PATCH", f"{RUNS}/r", {"status": "running"})] * 2, ("resumeRun", "r", "conflict")),
        ([("PATCH", f"{RUNS}/r", {"status": "pending"})], ("retryRun", "r", "conflict")),
        ([("PATCH", f"{RUNS}/r", {"colour": "red"})], ("updateRun", "r", "validation")),
        ([("DELETE", f"{RUNS}/nobody", None)], ("cancelRun", "nobody", "not_found")),
        ([("POST", f"{RUNS}/nobody/fork", {})], ("forkRun", "nobody", "not_found")),
        ([("PUT", f"{RUNS}/r/steps/s", {"value": 1, "reason": "why"})], ("setStepResult", "r", "conflict")),
        ([("POST", HOOKS, {**HOOK, "runId": "nobody"})], ("createHook", "nobody/n", "not_found")),
        ([("POST", f"{HOOKS}/swh.unknown", True)], ("executeHook", "", "not_found")),
        ([("DELETE", f"{NOTES}/records/nobody", None)], ("deleteRecord", "notes/nobody", "not_found")),
        (
            [("POST", f"{NOTES}/records:batch", {"writes": [{"action": "delete", "id": "nobody"}]})],
            ("writeRecords", "notes/nobody", "not_found"),
        ),
        ([("DELETE", "/api/keys/00000000", None)], ("revokeKey", "00000000", "not_found")),
    ],
)  # fmt: skip
async def test_each_event_leaves_its_entry(
    live: Live, http: Http, asked: list[tuple[str, str, Any]], entry: tuple[str, str, str]
):
    for run_id in ("r", "q"):
        await http("POST", RUNS, {"workflowName": "w", "runId": run_id}, status=201)
    token = (await http("POST", HOOKS, {**HOOK, "runId": "q"}, status=201))["token"]
    for record_id in "ab":
        await http("POST", f"{NOTES}/records", {"id": record_id}, status=201)
    words = {"token": token, "key": (await _key(live.engine, "read"))[4:12], "made": ""}
    before = len(await _noted(live))
    for method, path, body in asked:
        answer = await http(method, path.format(**words), body)
        if path == "/api/keys" and method == "POST":
            words["made"] = (await answer.json())["keyId"]
    action, target, result = entry
    noted = (await _noted(live))[before:]
    assert noted[-1] == (action, target.format(**words), result)
    assert len(noted) == len(asked)


async def test_the_first_use_of_a_key_is_noted_once(live: Live):
    key = await _key(live.engine, "read")
    for _ in range(2):
        async with asking(live, key) as http:
            await http("GET", RUNS, status=200)
    async with serving(live.engine) as again, asking(again, key) as http:
        await http("GET", RUNS, status=200)
    assert await _noted(live) == [("useKey", key[4:12], "first")]


async def test_of_what_is_refused_not_more_is_noted_than_the_setting_says(engine: Engine):
    async with serving(engine, limits=ServerSettings(refusals_noted_per_minute_max=3)) as live:
        key = await _key(engine, "operate")
        async with asking(live, key) as operator, asking(live, None) as nobody:
            for _ in range(5):
                await operator("DELETE", f"{RUNS}/nobody", status=404)
            for _ in range(5):
                await nobody("POST", f"{HOOKS}/swh.unknown", True, status=404)
        noted = await _noted(live)
        assert 3 <= noted.count(("cancelRun", "nobody", "not_found")) <= 5, "at most twice as many where the minute turns"
        assert 3 <= noted.count(("executeHook", "", "not_found")) <= 5
