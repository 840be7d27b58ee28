"""What a body writes to collections by way of a server: in one commit with what records it, and as far as the key allows."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from stepwell import AsyncClient, ConflictError, Context, Settings, StepFailed, workflow
from stepwell.engine import session
from stepwell.engine.access_calls import KeyBook, NewKey
from stepwell.engine.api import Engine
from stepwell.errors import PermissionDeniedError
from stepwell.server.keys import new_key
from tests.api.tools import events_of, executed, types_of
from tests.background import Background
from tests.clients import PATIENCE_S
from tests.proxy import Proxy
from tests.remote.test_lost_connections import PATIENT
from tests.remote.test_protocol import AT, HELLO, Hand, connected, event
from tests.servers import Live, engine, live

__all__ = ["engine", "live"]

WRITE = {"action": "create", "id": "a", "data": {"n": 1}}
WRITING = {"place": 0, "collection": "notes", "writes": [WRITE], "isOne": True}
TOLD = event("step_completed", "make", {"fingerprint": "0123abcd", "inserted": True})


@pytest.fixture
def limits() -> dict[str, int]:
    return PATIENT


@pytest.fixture
async def hand(server: Background) -> AsyncIterator[Hand]:
    """A connection on which nothing was said yet."""
    async with connected(server.url) as hand:
        yield hand


async def begun(hand: Hand, client: AsyncClient) -> dict[str, Any]:
    """Return what names a run that is held by hand."""
    await hand.say(HELLO)
    assert (await hand.hear("welcome"))["limits"]["writingsMax"] == 64
    await client.workflow.trigger("by-hand")
    assigned = await hand.hear("assign")
    return {"type": "progress", "runId": assigned["runId"], "turn": assigned["turn"]}


async def test_what_is_written_and_what_tells_of_it_are_committed_together(hand: Hand, direct: AsyncClient):
    here = await begun(hand, direct)
    progress = {**here, "no": 1, "events": [TOLD, event("step_completed", "b", {"result": 2})], "writings": [WRITING]}
    await hand.say(progress)
    settled = await hand.hear("settled")
    (told,) = settled["written"]
    record = await direct.collection("notes").get_one("a")
    assert (told["type"], told["stepId"], told["at"]) == ("step_completed", "make", AT)
    assert told["payload"] == {
        "result": record, "attempt": 1, "startedAt": AT, "durationMs": 0, "fingerprint": "0123abcd", "inserted": True,
    }  # fmt: skip
    assert (await events_of(direct, here["runId"], "step_completed"))[0].payload["result"] == record

    await hand.say(progress)
    assert await hand.hear("settled") == settled, "what was committed is answered as committed, and not done again"
    many = {
        **WRITING,
        "isOne": False,
        "writes": [{"action": "update", "id": "a", "data": {"n": 2}, "ifMatch": record["updated"]}],
    }
    await hand.say({**here, "no": 2, "events": [{**TOLD, "stepId": "change"}], "writings": [many]})
    (told,) = (await hand.hear("settled"))["written"]
    assert [each["n"] for each in told["payload"]["result"]] == [2]
    await hand.say({**here, "no": 3, "events": [{**TOLD, "stepId": "again"}], "writings": [WRITING]})
    (told,) = (await hand.hear("settled"))["written"]
    assert (told["type"], told["payload"]["error"]["type"]) == ("step_failed", "stepwell.errors.ConflictError")
    gone = {**WRITING, "writes": [{"action": "delete", "id": "a"}]}
    await hand.say({**here, "no": 4, "events": [{**TOLD, "stepId": "end"}], "writings": [gone]})
    assert (await hand.hear("settled"))["written"][0]["payload"]["result"] is None
    assert await direct.collection("notes").count() == 0


async def test_what_is_refused_as_a_whole_writes_nothing(hand: Hand, direct: AsyncClient):
    # promise 4
    here = await begun(hand, direct)
    await direct.workflow.cancel(here["runId"])
    await hand.hear("interrupt")
    await hand.say({**here, "no": 1, "events": [TOLD], "writings": [WRITING]})
    assert (await hand.hear("settled"))["refused"] == "guard"
    assert await direct.collections.list() == []


@pytest.mark.parametrize(
    ("write", "field"),
    [
        ({**WRITE, "id": "a/b"}, "data/id"),
        ({**WRITE, "data": [1]}, "data"),
        ({**WRITE, "data": {"id": "b"}}, "data/id"),
        ({**WRITE, "data": {"created": 1}}, "data/created"),
        ({**WRITE, "data": {"n": "\0"}}, "data/n"),
        ({**WRITE, "data": {"n": "x" * 1_048_570}}, "data"),
        ({**WRITE, "action": "update", "ifMatch": "yesterday"}, "if_match"),
    ],
)
async def test_what_is_no_record_is_recorded_as_refused_and_nothing_is_written(
    hand: Hand, direct: AsyncClient, write: dict[str, Any], field: str
):  # fmt: skip
    # promise 14
    here = await begun(hand, direct)
    text = json.dumps({**here, "no": 1, "events": [TOLD], "writings": [{**WRITING, "writes": [write]}]})
    for start in range(0, len(text), 200_000):
        await hand.say({"type": "part", "text": text[start : start + 200_000], "last": start + 200_000 >= len(text)})
    (told,) = (await hand.hear("settled"))["written"]
    assert told["type"] == "step_failed"
    assert field in told["payload"]["error"]["message"]
    assert await direct.collections.list() == []


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ({"writings": [{**WRITING, "place": 1}]}, 1008, "place 1"),
        ({"writings": [WRITING, WRITING]}, 1008, "places rise"),
        ({"writings": [{**WRITING, "writes": [WRITE, WRITE]}]}, 1008, "one record with 2"),
        ({"writings": [{**WRITING, "writes": []}]}, 1003, "writes"),
        ({"writings": [{**WRITING, "writes": [{**WRITE, "action": "drop"}]}]}, 1003, "drop"),
        ({"writings": [{**WRITING, "writes": [WRITE] * 1_001}]}, 1003, "1000"),
        ({"events": [event("step_failed", "make")], "writings": [WRITING]}, 1008, "step_failed"),
        ({"events": [event("step_completed", "make", {"result": 1})], "writings": [WRITING]}, 1008, "says what the server"),
        ({"events": [TOLD] * 65, "writings": [{**WRITING, "place": n} for n in range(65)]}, 1008, "more than 64"),
    ],
)
async def test_what_no_worker_says_closes_the_connection_and_writes_nothing(
    hand: Hand, direct: AsyncClient, said: dict[str, Any], code: int, reason: str
):  # fmt: skip
    # promise 14
    here = await begun(hand, direct)
    await hand.say({**here, "no": 1, "events": [TOLD], **said})
    ended = await hand.ended()
    assert ended[0] == code
    assert reason in ended[1]
    assert await types_of(direct, here["runId"]) == ["run_created", "run_started"]
    assert await direct.collections.list() == []


@workflow("remote-writes")
async def writes(ctx: Context, name: str) -> list[Any]:
    """Ten records, one after the other, whose ids are drawn."""
    client = writers[0]
    return [(await client.collection(name).create({"n": n}))["id"] for n in range(10)]


writers: list[AsyncClient] = []
"""What the workflow writes with: the client of its worker."""


async def test_an_answer_that_is_lost_again_and_again_writes_nothing_twice(
    client: AsyncClient, direct: AsyncClient, proxy: Proxy
):  # fmt: skip
    # promise 2
    writers[:] = [client]
    async with client.worker(writes):
        runs = [await direct.workflow.trigger(writes, f"c{n}") for n in range(5)]
        over = asyncio.gather(*(direct.workflow.wait(run.run_id, PATIENCE_S) for run in runs))
        while not over.done():
            proxy.cut_before("down", b'"type":"settled"')
            await asyncio.wait([over], timeout=0.1)
        ended = await over
    assert proxy.cuts > 0
    for n, run in enumerate(ended):
        assert run.output == [record["id"] for record in await direct.collection(f"c{n}").get_full_list(sort="n")]


async def test_a_server_that_knows_no_writings_is_asked_to_write_by_a_request(
    client: AsyncClient, server: Background, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    monkeypatch.setattr(session, "WRITINGS_MAX", 0)
    writers[:] = [client]
    run = await executed(client, writes, "c")
    assert run.output == [record["id"] for record in await client.collection("c").get_full_list(sort="n")]


@workflow("remote-may")
async def may(ctx: Context) -> list[Any]:
    """One write that the key allows, and one that it does not."""
    client = writers[0]
    made = await client.collection("mine").create({"n": 1})
    try:
        await client.collection("yours").create({"n": 1})
    except StepFailed as error:
        return [made["n"], error.is_a(PermissionDeniedError), error.is_a(ConflictError), error.message]
    return []


async def test_a_worker_writes_what_its_key_may_write_and_no_more(live: Live, engine: Engine):
    # A9: whose write it is, the connection says.
    key = await _key(engine, "worker", "trigger", "read", "records:mine:w")
    async with AsyncClient(live.url, api_key=key, settings=Settings()) as client:
        writers[:] = [client]
        run = await executed(client, may)
    assert run.output == [1, True, False, "this key lacks the scope 'records:yours:w'"]
    assert [each.name for each in await engine.records.collections()] == ["mine"]
    assert isinstance(engine, KeyBook)
    noted = [row for row in await engine.audit("", 100) if row.action == "writeRecords"]
    assert [(row.target, row.result) for row in noted] == [("yours", "permission_denied")]


async def test_the_scope_of_workers_alone_writes_nothing(live: Live, engine: Engine):
    headers = {"authorization": f"Bearer {await _key(engine, 'worker', 'trigger')}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.ws_connect(f"{live.url}/api/workflows/worker", protocols=["stepwell.v1"]) as socket:
            hand = Hand(socket)
            await hand.say(HELLO)
            async with http.post(f"{live.url}/api/workflows/runs", json={"workflowName": "by-hand"}) as answer:
                assert answer.status == 201
            assigned = await hand.hear("assign")
            here = {"type": "progress", "runId": assigned["runId"], "turn": assigned["turn"]}
            await hand.say({**here, "no": 1, "events": [TOLD], "writings": [WRITING]})
            (told,) = (await hand.hear("settled"))["written"]
            assert (told["type"], told["payload"]["error"]["type"]) == ("step_failed", "stepwell.errors.PermissionDeniedError")
    assert await engine.records.collections() == []


async def _key(engine: Engine | Any, *scopes: str) -> str:
    shown, row = new_key(NewKey(name="a worker", scopes=scopes), now_ms=engine.now_ms())
    assert await engine.keep_key(row)
    return shown
