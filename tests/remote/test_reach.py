"""What a key that was made for some workflows and collections may say on a worker's connection: each frame is held to it. A9."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from stepwell.engine.access_calls import NewKey
from stepwell.engine.api import Engine
from stepwell.server import gateway, keys, streams
from stepwell.server.keys import new_key
from tests.clients import PATIENCE_S
from tests.remote.test_protocol import AT, HELLO, Hand, event
from tests.servers import Http, Live, engine, http, live

__all__ = ["engine", "http", "live"]

RUNS = "/api/workflows/runs"
STEP = event("step_completed", "a", {"result": 1, "attempt": 1, "startedAt": AT, "durationMs": 0})
WRITTEN = event("step_completed", "make", {"fingerprint": "0123abcd", "inserted": True})
END = {"status": "completed", "event": event("run_completed", payload={"output": 0})}


@pytest.fixture(autouse=True)
def _keys_count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_MISSED_MS", 0)


async def _key(engine: Engine | Any, *, workflows: tuple[str, ...] = ()) -> str:
    wanted = NewKey(name="a worker", scopes=["worker", "records:mine:w"], workflows=workflows)
    shown, row = new_key(wanted, now_ms=engine.now_ms())
    assert await engine.keep_key(row)
    return shown


@contextlib.asynccontextmanager
async def _connected(live: Live, key: str) -> AsyncIterator[Hand]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        async with session.ws_connect(f"{live.url}/api/workflows/worker", protocols=["stepwell.v1"]) as socket:
            yield Hand(socket)


@dataclass
class Both:
    """A worker whose key is for ``by-hand``, and one of all whose run ``theirs`` it may not touch."""

    narrow: Hand
    mine: dict[str, Any]
    theirs: dict[str, Any]
    session: str
    """Of the other worker."""


@pytest.fixture
async def both(live: Live, engine: Engine, http: Http) -> AsyncIterator[Both]:
    async with _connected(live, await _key(engine)) as wide, _connected(live, await _key(engine, workflows=("by-",))) as narrow:
        held: list[dict[str, Any]] = []
        session = ""
        for hand, workflow, run_id in ((wide, "pay", "theirs"), (narrow, "by-hand", "mine")):
            await hand.say({**HELLO, "workflows": [[workflow, ""]]})
            session = session or (await hand.hear("welcome"))["session"]
            await http("POST", RUNS, {"workflowName": workflow, "runId": run_id}, status=201)
            assigned = await hand.hear("assign")
            held.append({"runId": assigned["runId"], "turn": assigned["turn"]})
        yield Both(narrow, mine=held[1], theirs=held[0], session=session)


async def _untouched(http: Http) -> None:
    assert (await http("GET", f"{RUNS}/theirs", status=200))["status"] == "running"
    events = (await http("GET", f"{RUNS}/theirs/events", status=200))["items"]
    assert [each["eventType"] for each in events] == ["run_created", "run_started"]


@pytest.mark.parametrize(
    "said",
    [
        {"events": [STEP]}, {"final": END}, {"release": True}, {"quiet": [STEP]}, {"mailboxConsumed": 1}, {"misfit": True},
        {"suspend": {"on": {"kind": "sleep"}, "wakeAt": AT}}, {"awaits": ["mine"]},
        {"events": [WRITTEN], "writings": [{"place": 0, "collection": "mine", "writes": [{"action": "create", "id": "a"}]}]},
    ],
    ids=lambda said: "-".join(said),
)  # fmt: skip
async def test_a_progress_of_a_run_that_it_does_not_hold_is_refused(both: Both, http: Http, said: dict[str, Any]):
    await both.narrow.say({"type": "progress", **both.theirs, "no": 1, **said})
    settled = await both.narrow.hear("settled")
    assert (settled["runId"], settled["refused"]) == ("theirs", "guard")
    await _untouched(http)
    assert (await http("GET", "/api/collections", status=200))["items"] == []


async def test_that_it_is_done_with_a_run_of_another_hands_nothing_back(both: Both, http: Http):
    await both.narrow.say({"type": "done", **both.theirs}, {"type": "beat", "no": 1})
    await both.narrow.hear("lease")
    await _untouched(http)


async def test_a_run_of_another_workflow_is_not_awaited(both: Both, http: Http):
    await both.narrow.say({"type": "progress", **both.mine, "no": 1, "events": [STEP], "awaits": ["theirs"]})
    code, reason = await both.narrow.ended()
    assert (code, "'theirs'" in reason) == (1008, True)
    events = (await http("GET", f"{RUNS}/mine/events", status=200))["items"]
    assert [each["eventType"] for each in events] == ["run_created", "run_started"]


async def test_a_run_of_its_own_workflows_is_awaited(both: Both, http: Http):
    await http("POST", RUNS, {"workflowName": "by-foot", "runId": "child", "parentRunId": "mine"}, status=201)
    await both.narrow.say({"type": "progress", **both.mine, "no": 1, "awaits": ["child"]})
    assert (await both.narrow.hear("settled")).get("refused", "") == ""
    await http("DELETE", f"{RUNS}/child", status=202)
    (message,) = (await both.narrow.hear("deliver"))["messages"]
    assert message["kind"] == "run"


async def test_another_collection_is_not_written(both: Both, http: Http):
    writings = [
        {"place": place, "collection": name, "writes": [{"action": "create", "id": "a", "data": {}}], "isOne": True}
        for place, name in enumerate(("mine", "theirs"))
    ]  # fmt: skip
    events = [WRITTEN, {**WRITTEN, "stepId": "more"}]
    await both.narrow.say({"type": "progress", **both.mine, "no": 1, "events": events, "writings": writings})
    told = (await both.narrow.hear("settled"))["written"]
    assert [each["type"] for each in told] == ["step_completed", "step_failed"]
    assert told[1]["payload"]["error"]["type"] == "stepwell.errors.PermissionDeniedError"
    assert [each["name"] for each in (await http("GET", "/api/collections", status=200))["items"]] == ["mine"]


@pytest.mark.parametrize("workflows", [[["pay", ""]], [["by-hand", ""], ["pay", ""]], [["", ""]], [["by", ""]]])
async def test_another_workflow_is_not_worked_on(live: Live, engine: Engine, workflows: list[list[str]]):
    async with _connected(live, await _key(engine, workflows=("by-",))) as hand:
        await hand.say({**HELLO, "workflows": workflows})
        code, reason = await hand.ended()
        assert (code, "may not work on" in reason) == (1008, True)


async def test_the_session_of_another_key_is_not_taken_over(both: Both, live: Live, engine: Engine, http: Http):
    async with _connected(live, await _key(engine, workflows=("by-",))) as hand:
        holds = [[each["runId"], each["turn"]] for each in (both.theirs, both.mine)]
        await hand.say({**HELLO, "credit": 0, "session": both.session, "holds": holds})
        welcome = await hand.hear("welcome")
        assert welcome.get("resumed", False) is False
        assert welcome["session"] != both.session
        await hand.say({"type": "progress", **both.theirs, "no": 1, "final": END})
        assert (await hand.hear("settled"))["refused"] == "guard"
    await _untouched(http)


async def test_a_worker_whose_key_is_revoked_is_sent_away(live: Live, engine: Engine | Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateway, "_KEY_LOOK_S", 0.05)
    monkeypatch.setattr(keys, "_FRESH_MS", 0)
    key = await _key(engine)
    async with _connected(live, key) as hand:
        await hand.say(HELLO)
        await hand.hear("welcome")
        assert await engine.end_key(key[4:12])
        code, reason = await hand.ended()
        assert (code, "the key is not valid any more" in reason) == (1008, True)


async def test_a_stream_on_which_much_comes_ends_too_when_its_key_is_revoked(
    live: Live, engine: Engine | Any, http: Http, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streams, "_BEAT_S", 0.05)
    monkeypatch.setattr(keys, "_FRESH_MS", 0)
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    shown, row = new_key(NewKey(name="a reader", scopes=["read"]), now_ms=engine.now_ms())
    assert await engine.keep_key(row)

    async def emit() -> None:
        while True:
            await http("POST", "/api/workflows/events", {"runId": "r", "eventType": "tick"}, status=201)

    headers = {"Authorization": f"Bearer {shown}", "Accept": "text/event-stream"}
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.timeout(PATIENCE_S):
        async with session.get(f"{live.url}{RUNS}/r/events") as stream:
            emitting = asyncio.ensure_future(emit())
            try:
                await stream.content.readuntil(b"tick")
                assert await engine.end_key(shown[4:12])
                while await stream.content.readany():
                    pass
            finally:
                emitting.cancel()
                await asyncio.gather(emitting, return_exceptions=True)


def test_what_is_open_is_looked_at_so_often_that_a_revoked_key_ends_it_within_five_seconds():
    # As old as what is known of the keys may be, and as long as until the next look.
    assert streams._BEAT_S + keys._FRESH_MS / 1000 <= 5
    assert gateway._KEY_LOOK_S + keys._FRESH_MS / 1000 <= 5
