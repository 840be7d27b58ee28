"""Runs over HTTP: made, shown, listed, steered."""

import asyncio

from stepwell import WorkflowWorker, workflow
from tests.servers import Http, Live, client_of


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
    assert await http("GET", "/readyz", status=200, headers={"Authorization": ""}) == {"status": "ok"}
