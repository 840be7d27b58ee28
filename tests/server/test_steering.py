"""Runs steered over HTTP: batches, status changes, cancels, families."""

from stepwell import WorkflowWorker, workflow
from tests.servers import Http, Live, client_of

RUNS = "/api/workflows/runs"


@workflow("fails")
async def fails(ctx, input):
    raise ValueError("no")


async def test_a_batch_is_one_commit_with_an_answer_for_each(http: Http, live: Live):
    await http("POST", RUNS, {"workflowName": "w", "runId": "taken", "input": 1}, status=201)
    before = live.engine.committer.number
    asked = [{"workflowName": "w", "runId": f"r{number}"} for number in range(997)]
    asked += [
        {"workflowName": "w", "runId": "taken", "input": 2},
        {"workflowName": "w", "runId": "taken", "input": 1},
        {"workflowName": "w", "parentRunId": "none"},
    ]
    answered = (await http("POST", f"{RUNS}/batch", {"runs": asked}, status=200))["items"]
    assert live.engine.committer.number == before + 1
    assert [each["status"] for each in answered] == [201] * 997 + [409, 200, 404]
    assert answered[996]["run"]["runId"] == "r996"
    assert answered[997]["problem"]["code"] == "conflict"


async def test_a_batch_over_the_limit_or_with_one_bad_run_stores_nothing(http: Http):
    too_many = {"runs": [{"workflowName": "w"}] * 1_001}
    assert (await http("POST", f"{RUNS}/batch", too_many, status=422))["limit"] == "batch_max"
    bad = await http("POST", f"{RUNS}/batch", {"runs": [{"workflowName": "w"}, {"workflowName": 1}]}, status=422)
    assert bad["errors"][0]["pointer"] == "/runs/1/workflowName"
    assert (await http("GET", RUNS, status=200))["items"] == []


async def test_a_batch_is_executed(http: Http, live: Live):
    async with WorkflowWorker(client_of(live.engine), concurrency=2) as worker:
        await worker.start("fails")
        asked = [{"workflowName": "fails", "runId": f"r{number}"} for number in range(10)]
        await http("POST", f"{RUNS}/batch", {"runs": asked}, status=200)
        for number in range(10):
            assert (await http("GET", f"{RUNS}/r{number}?wait=30s", status=200))["status"] == "failed"


async def test_a_run_is_paused_resumed_cancelled_and_over(http: Http):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    assert (await http("PATCH", f"{RUNS}/r", {"status": "paused"}, status=200))["status"] == "paused"
    assert (await http("PATCH", f"{RUNS}/r", {"status": "running"}, status=200))["status"] in {"pending", "running"}
    await http("PATCH", f"{RUNS}/r", {"status": "running"}, status=409)
    await http("PATCH", f"{RUNS}/r", {"status": "pending"}, status=409)
    cancelled = await http("DELETE", f"{RUNS}/r?reason=enough", status=202)
    assert (cancelled["status"], cancelled["cancelReason"]) == ("cancelled", "enough")
    assert (await http("DELETE", f"{RUNS}/r", status=200))["cancelReason"] == "enough"
    await http("PATCH", f"{RUNS}/r", {"status": "paused"}, status=409)
    await http("DELETE", f"{RUNS}/none", status=404)


async def test_a_failed_run_is_retried(http: Http, live: Live):
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("fails")
        await http("POST", RUNS, {"workflowName": "fails", "runId": "r"}, status=201)
        failed = await http("GET", f"{RUNS}/r?wait=30s", status=200)
        assert failed["error"] == "ValueError: no"
        assert (await http("PATCH", f"{RUNS}/r", {"status": "pending"}, status=200))["attempt"] == 2


async def test_the_result_of_a_step_is_set_by_hand(http: Http):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    path = f"{RUNS}/r/steps/parallel%230%2F2%2Fcharge"
    await http("PUT", path, {"value": 1, "reason": "by hand"}, status=409)
    await http("PATCH", f"{RUNS}/r", {"status": "paused"}, status=200)
    await http("PUT", path, {"value": 1, "reason": "by hand"}, status=200)
    events = (await http("GET", f"{RUNS}/r/events", status=200))["items"]
    assert events[-1]["stepId"] == "parallel#0/2/charge"


async def test_families_are_shown(http: Http):
    await http("POST", RUNS, {"workflowName": "w", "runId": "p"}, status=201)
    await http("POST", RUNS, {"workflowName": "w", "runId": "c", "parentRunId": "p"}, status=201)
    assert [run["runId"] for run in (await http("GET", f"{RUNS}/p/children", status=200))["items"]] == ["c"]
    assert (await http("GET", f"{RUNS}/c/parent", status=200))["runId"] == "p"
    await http("GET", f"{RUNS}/p/parent", status=404)
    await http("GET", f"{RUNS}/none/children", status=404)
    await http("POST", RUNS, {"workflowName": "w", "parentRunId": "none"}, status=404)


async def test_a_signal_goes_along_with_the_trigger(http: Http):
    asked = {"workflowName": "w", "runId": "r", "signal": {"name": "s", "payload": 1, "signalId": "1"}}
    await http("POST", RUNS, asked, status=201)
    await http("POST", RUNS, asked, status=200)
    assert "worker" in (await http("GET", f"{RUNS}/r/why", status=200))["why"]
    refused = await http("POST", RUNS, {key: asked[key] for key in ("workflowName", "signal")}, status=422)
    assert refused["errors"][0]["pointer"] == "/runId"


async def test_the_whole_is_counted_and_listed(http: Http, live: Live):
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("fails")
        (definition,) = (await http("GET", "/api/workflows/definitions", status=200))["items"]
        (node,) = (await http("GET", "/api/workflows/workers", status=200))["items"]
    assert definition == {"workflowName": "fails", "versions": [None], "workers": 1}
    assert node["workflows"] == [["fails", ""]]
    await http("POST", RUNS, {"workflowName": "w"}, status=201)
    stats = await http("GET", "/api/workflows/stats", status=200)
    assert stats["runs"]["pending"] == 1
