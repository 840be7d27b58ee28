"""Histories, streams, signals and events over HTTP."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from stepwell import WorkflowWorker, step, workflow
from stepwell.engine.api import Engine
from stepwell.settings import ServerSettings
from tests.servers import Http, Live, asking, client_of, serving

RUNS = "/api/workflows/runs"
STREAM = {"Accept": "text/event-stream"}


@workflow("two-steps")
async def two_steps(ctx, input):
    await step("first", lambda: {"$stepwell": "a user's own key"})()
    await step("run", lambda: client_of_run.workflow.get_run(ctx.run_id))()
    return await ctx.wait_for_signal("go")


client_of_run: Any = None


async def _stream(http: Http, path: str, **headers: str) -> list[dict[str, Any]]:
    async with http.session.get(http.url + path, headers=STREAM | headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        return [json.loads(line[6:]) async for line in answer.content if line.startswith(b"data: ")]


@pytest.fixture
async def working(live: Live) -> Any:
    global client_of_run
    client_of_run = client_of(live.engine)
    async with WorkflowWorker(client_of_run) as worker:
        await worker.start("two-steps")
        yield


@pytest.mark.usefixtures("working")
async def test_a_stream_is_live_and_ends_after_the_final_event(http: Http):
    await http("POST", RUNS, {"workflowName": "two-steps", "runId": "r"}, status=201)
    streaming = asyncio.create_task(_stream(http, f"{RUNS}/r/events"))
    await http("POST", f"{RUNS}/r/signals", {"name": "go", "payload": [1]}, status=202)
    events = await streaming
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["eventType"] == "run_completed"
    listed = await http("GET", f"{RUNS}/r/events", status=200)
    assert listed == {"items": events, "nextCursor": None}
    behind = await _stream(http, f"{RUNS}/r/events", **{"Last-Event-ID": "2"})
    assert behind == events[2:]


@pytest.mark.usefixtures("working")
async def test_the_marks_of_recorded_models_are_not_shown_and_a_users_own_key_is(http: Http):
    await http("POST", RUNS, {"workflowName": "two-steps", "runId": "r", "input": {"$stepwell": "Run"}}, status=201)
    await http("POST", f"{RUNS}/r/signals", {"name": "go"}, status=202)
    run = await http("GET", f"{RUNS}/r?wait=30s", status=200)
    assert run["input"] == {"$stepwell": "Run"}
    events = (await http("GET", f"{RUNS}/r/events", status=200))["items"]
    first, recorded = [event["payload"]["result"] for event in events if event["eventType"] == "step_completed"]
    assert first == {"$stepwell": "a user's own key"}
    assert (recorded["runId"], recorded["createdAt"][-1]) == ("r", "Z")
    assert "$stepwell" not in recorded


async def test_a_history_is_read_in_pages(http: Http):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    for number in range(4):
        await http("POST", "/api/workflows/events", {"runId": "r", "eventType": "x", "payload": number}, status=201)
    page = await http("GET", f"{RUNS}/r/events?limit=3", status=200)
    rest = await http("GET", f"{RUNS}/r/events?limit=3&after={page['nextCursor']}", status=200)
    assert [event["seq"] for event in page["items"] + rest["items"]] == [1, 2, 3, 4, 5]
    assert rest["nextCursor"] is None


async def test_an_event_with_the_same_id_is_one_event_and_built_in_types_are_refused(http: Http):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    event = {"runId": "r", "eventType": "x", "eventId": "e1"}
    first = await http("POST", "/api/workflows/events", event, status=201)
    again = await http("POST", "/api/workflows/events", event, status=201)
    assert first["seq"] == again["seq"]
    refused = await http("POST", "/api/workflows/events", event | {"eventType": "run_completed"}, status=422)
    assert refused["errors"][0]["pointer"] == "/eventType"


async def test_a_signal_with_the_same_id_counts_once_and_one_for_a_run_that_is_over_not_at_all(http: Http):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    signal = {"name": "s", "signalId": "1", "payload": {"a": 1}}
    await http("POST", f"{RUNS}/r/signals", signal, status=202)
    await http("POST", f"{RUNS}/r/signals", signal, status=200)
    await http("DELETE", f"{RUNS}/r", status=202)
    await http("POST", f"{RUNS}/r/signals", {"name": "s"}, status=409)  # trap 21
    await http("POST", f"{RUNS}/none/signals", {"name": "s"}, status=404)


async def test_a_stream_of_no_run_is_not_found(http: Http):
    async with http.session.get(f"{http.url}{RUNS}/none/events", headers=STREAM) as answer:
        assert answer.status == 404


async def test_streams_and_waits_end_when_the_server_stops(http: Http, live: Live):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    async with http.session.get(f"{http.url}{RUNS}/r/events", headers=STREAM) as answer:
        await answer.content.readuntil(b"run_created")
        waiting = asyncio.create_task(http("GET", f"{RUNS}/r?wait=60s", status=200))
        while live.app.world._waits.total() < 2:
            await asyncio.sleep(0.01)
        live.app.world.stopping.set()
        await answer.content.read()
        assert (await waiting)["status"] == "pending"


async def test_a_client_that_goes_away_is_not_waited_for(http: Http, live: Live):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    with pytest.raises(TimeoutError):
        await http("GET", f"{RUNS}/r?wait=60s", timeout=aiohttp.ClientTimeout(total=0.2))
    while live.app.world._waits.total():
        await asyncio.sleep(0.01)


async def test_a_page_of_large_items_ends_before_its_limit_and_nothing_is_left_out(engine: Engine):
    async with serving(engine, limits=ServerSettings(answer_bytes_max=10_000)) as live, asking(live) as http:
        for run in range(6):
            await http("POST", RUNS, {"workflowName": "w", "runId": f"r{run}", "input": "x" * 3_000}, status=201)
        for number in range(12):
            event = {"runId": "r0", "eventType": "e", "eventId": str(number), "payload": "x" * 2_000}
            await http("POST", "/api/workflows/events", event, status=201)
        seen, after, pages = list[int](), "0", 0
        while after is not None:
            page = await http("GET", f"{RUNS}/r0/events?after={after}", status=200)
            assert len(json.dumps(page)) < 30_000
            seen += [event["seq"] for event in page["items"]]
            after, pages = page["nextCursor"], pages + 1
        assert seen == list(range(1, 14))
        assert pages > 1
        first = await http("GET", f"{RUNS}?include=input", status=200)
        rest = await http("GET", f"{RUNS}?include=input&cursor={first['nextCursor']}", status=200)
        assert [run["runId"] for run in first["items"] + rest["items"]] == [f"r{run}" for run in range(5, -1, -1)]
        assert len((await http("GET", RUNS, status=200))["items"]) == 6
