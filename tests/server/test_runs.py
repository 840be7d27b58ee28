"""Runs over HTTP: made, shown, listed, steered."""

import asyncio
from datetime import UTC, datetime

import aiohttp
import pytest

from stepwell import WorkflowWorker, workflow
from stepwell.engine.api import Engine
from stepwell.settings import ServerSettings
from tests.servers import Http, Live, asking, client_of, serving

RUNS = "/api/workflows/runs"


@workflow("greet")
async def greet(ctx, input):
    return {"greeting": f"hello {input['name']}"}


@workflow("ask")
async def ask(ctx, input):
    return await ctx.wait_for_signal("answer")


async def test_a_run_is_triggered_executed_and_shown(http: Http, live: Live):
    made = await http("POST", "/api/workflows/runs", {"workflowName": "greet", "input": {"name": "Ada"}}, status=201)
    assert made["status"] == "pending"
    assert made["created"] is True
    assert "$stepwell" not in made
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("greet")
        run = await http("GET", f"/api/workflows/runs/{made['runId']}?wait=30s", status=200)
    assert run["status"] == "completed"
    assert run["output"] == {"greeting": "hello Ada"}
    assert run["completedAt"].endswith("Z")


async def test_the_same_key_answers_with_the_run_that_is_there(http: Http):
    asked = {"workflowName": "greet", "input": [1], "idempotencyKey": "k"}
    first = await http("POST", "/api/workflows/runs", asked, status=201)
    again = await http("POST", "/api/workflows/runs", asked, status=200)
    assert again["runId"] == first["runId"]
    refused = await http("POST", "/api/workflows/runs", asked | {"input": [2]}, status=409)
    assert refused["code"] == "conflict"


async def test_a_list_is_walked_by_its_cursor(http: Http):
    for _ in range(5):
        await http("POST", "/api/workflows/runs", {"workflowName": "greet", "tags": ["a", "b"]}, status=201)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await http("GET", f"/api/workflows/runs?limit=2&tag=a&tag=b{cursor}", status=200)
        seen += [run["runId"] for run in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert len(seen) == len(set(seen)) == 5


async def test_a_wait_that_runs_out_shows_the_run_as_it_is(http: Http):
    made = await http("POST", "/api/workflows/runs", {"workflowName": "greet"}, status=201)
    run = await http("GET", f"/api/workflows/runs/{made['runId']}?wait=50ms", status=200)
    assert run["status"] == "pending"


async def test_a_trigger_that_waits_answers_with_the_run_that_is_over(http: Http, live: Live):
    asked = {"workflowName": "greet", "runId": "r", "input": {"name": "Ada"}}
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("greet")
        async with http.session.post(f"{http.url}{RUNS}?wait=30s", json=asked) as made:
            assert (made.status, made.headers["Location"]) == (201, f"{RUNS}/r")
            run = await made.json()
        again = await http("POST", f"{RUNS}?wait=30s", asked, status=200)
    assert (run["status"], run["output"], run["created"]) == ("completed", {"greeting": "hello Ada"}, True)
    assert again == run | {"created": False}


async def test_a_trigger_with_the_key_of_a_run_under_way_waits_for_that(http: Http, live: Live):
    asked = {"workflowName": "ask", "idempotencyKey": "k"}
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("ask")
        made = await http("POST", RUNS, asked, status=201)
        waiting = asyncio.create_task(http("POST", f"{RUNS}?wait=60s", asked, status=200))
        while not live.app.world.waits:
            await asyncio.sleep(0.01)
        await http("POST", f"{RUNS}/{made['runId']}/signals", {"name": "answer", "payload": 42}, status=202)
        run = await waiting
    assert (run["runId"], run["output"], run["created"]) == (made["runId"], 42, False)


async def test_a_trigger_whose_wait_runs_out_answers_with_the_run_as_it_is(http: Http):
    run = await http("POST", f"{RUNS}?wait=50ms", {"workflowName": "greet"}, status=201)
    assert (run["status"], run["created"]) == ("pending", True)


async def test_a_trigger_that_waits_is_answered_when_the_server_stops(http: Http, live: Live):
    waiting = asyncio.create_task(http("POST", f"{RUNS}?wait=60s", {"workflowName": "greet", "runId": "r"}, status=201))
    while not live.app.world.waits:
        await asyncio.sleep(0.01)
    live.app.world.stopping.set()
    assert (await waiting)["status"] == "pending"


async def test_a_client_that_goes_away_leaves_the_run_that_it_has_triggered(http: Http, live: Live):
    # promise 1
    asked = {"workflowName": "greet", "runId": "r", "input": {"name": "Ada"}}
    with pytest.raises(TimeoutError):
        await http("POST", f"{RUNS}?wait=60s", asked, timeout=aiohttp.ClientTimeout(total=0.2))
    while live.app.world.waits:
        await asyncio.sleep(0.01)
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("greet")
        run = await http("POST", f"{RUNS}?wait=30s", asked, status=200)
    assert run["output"] == {"greeting": "hello Ada"}


@pytest.mark.parametrize("query", ["wait=-1s", "wait=soon", "wait=61s", "wait=1s&wait=2s", "waits=1s"])
async def test_a_wait_that_cannot_be_is_told_before_anything_is_made(http: Http, query: str):
    # promise 14
    await http("POST", f"{RUNS}?{query}", {"workflowName": "greet"}, status=422)
    assert (await http("GET", RUNS, status=200))["items"] == []


async def test_too_many_that_wait_are_refused_before_anything_is_made(engine: Engine):
    # promise 14
    async with serving(engine, limits=ServerSettings(waits_max=1)) as live, asking(live) as http:
        waiting = asyncio.create_task(http("POST", f"{RUNS}?wait=60s", {"workflowName": "greet", "runId": "a"}, status=201))
        while not live.app.world.waits:
            await asyncio.sleep(0.01)
        refused = await http("POST", f"{RUNS}?wait=60s", {"workflowName": "greet", "runId": "b"}, status=429)
        assert refused["limit"] == "waits_max"
        await http("GET", f"{RUNS}/b", status=404)
        live.app.world.stopping.set()
        await waiting


async def test_many_wait_for_one_run(http: Http, live: Live):
    made = await http("POST", "/api/workflows/runs", {"workflowName": "ask"}, status=201)
    run_id = made["runId"]
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("ask")
        waiting = [asyncio.create_task(http("GET", f"/api/workflows/runs/{run_id}?wait=60s", status=200)) for _ in range(5)]
        await http("POST", f"/api/workflows/runs/{run_id}/signals", {"name": "answer", "payload": 42}, status=202)
        runs = await asyncio.gather(*waiting)
    assert [run["output"] for run in runs] == [42] * 5


async def test_without_a_key_nothing_is_shown(live: Live, http: Http):
    answer = await http("GET", "/api/workflows/runs", headers={"Authorization": "Bearer swk_no_no"})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_health_needs_no_key(http: Http):
    assert await http("GET", "/healthz", status=200, headers={"Authorization": ""}) == {"status": "ok"}
    ready = await http("GET", "/readyz", status=200, headers={"Authorization": ""})
    assert (ready["status"], datetime.fromisoformat(ready["now"]).tzinfo) == ("ok", UTC)
