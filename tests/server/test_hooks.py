"""Hooks over HTTP: who holds the token may look and answer, once."""

import asyncio

import pytest

from stepwell import WorkflowWorker, workflow
from stepwell.engine.api import Engine
from tests.servers import Http, Live, asking, client_of

RUNS = "/api/workflows/runs"
HOOKS = "/api/workflows/hooks"


@workflow("asks")
async def asks(ctx, input):
    hook = await ctx.create_hook("budget", "approve", {"amount": 7})
    return await ctx.wait_for_hook(hook.token)


@pytest.fixture
async def hook(http: Http) -> dict[str, str]:
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    return await http("POST", HOOKS, {"runId": "r", "name": "n", "action": "approve", "payload": {"amount": 7}}, status=201)


async def test_the_same_question_is_the_same_hook(http: Http, hook: dict[str, str]):
    again = await http("POST", HOOKS, {"runId": "r", "name": "n", "action": "approve", "payload": "other"}, status=200)
    assert again == hook
    other = await http("POST", HOOKS, {"runId": "r", "name": "n", "action": "approve", "key": "2"}, status=201)
    assert other["token"] != hook["token"]
    listed = await http("GET", f"{RUNS}/r/hooks", status=200)
    assert [each["token"] for each in listed["items"]] == [hook["token"], other["token"]]


async def test_the_url_is_where_the_hook_is(http: Http, hook: dict[str, str]):
    async with http.session.get(hook["url"], headers={"Authorization": ""}) as answer:
        shown = await answer.json()
    assert (shown["state"], shown["payload"], shown["workflowName"]) == ("open", {"amount": 7}, "w")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_whoever_only_follows_the_link_changes_nothing(http: Http, hook: dict[str, str], method: str):
    await http(method, f"{HOOKS}/{hook['token']}", headers={"Sec-Purpose": "prefetch"})  # trap 23
    assert (await http("GET", f"{HOOKS}/{hook['token']}", status=200))["state"] == "open"


async def test_an_answer_reaches_the_run_and_the_first_stands(http: Http, live: Live):
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("asks")
        await http("POST", RUNS, {"workflowName": "asks", "runId": "a"}, status=201)
        while not (listed := await http("GET", f"{RUNS}/a/hooks", status=200))["items"]:
            await http("GET", f"{RUNS}/a?wait=10ms", status=200)
        path = f"{HOOKS}/{listed['items'][0]['token']}"
        answered = await http("POST", path, {"approved": True}, status=200, headers={"Authorization": ""})
        assert (answered["state"], answered["answer"]) == ("executed", {"approved": True})
        run = await http("GET", f"{RUNS}/a?wait=30s", status=200)
        assert run["output"] == {"approved": True}
        refused = await http("POST", path, {"approved": False}, status=409)
    assert refused["hook"]["answer"] == {"approved": True}
    assert (await http("GET", path, status=200))["answer"] == {"approved": True}


async def test_an_answer_sent_again_with_its_id_is_the_same_answer(http: Http, hook: dict[str, str]):
    key = {"Idempotency-Key": "mail-1"}
    await http("POST", f"{HOOKS}/{hook['token']}", [1], headers=key, status=200)
    await http("POST", f"{HOOKS}/{hook['token']}", [1], headers=key, status=200)
    await http("POST", f"{HOOKS}/{hook['token']}", [1], status=409)


async def test_of_two_answers_at_once_one_stands_and_both_are_told_which(http: Http, hook: dict[str, str]):
    path = f"{HOOKS}/{hook['token']}"
    for_and_against = await asyncio.gather(*(http("POST", path, value) for value in (True, False) * 10))  # trap 22
    assert sorted(answer.status for answer in for_and_against) == [200] + [409] * 19
    stands = (await http("GET", path, status=200))["answer"]
    told = {(await answer.json())["hook"]["answer"] for answer in for_and_against if answer.status == 409}
    assert told == {stands}


async def test_the_hook_of_a_run_that_is_over_is_gone_and_one_that_never_was_is_not_found(http: Http, hook: dict[str, str]):
    await http("DELETE", f"{RUNS}/r", status=202)  # trap 21
    assert (await http("POST", f"{HOOKS}/{hook['token']}", True, status=410))["code"] == "conflict"
    await http("GET", f"{HOOKS}/{hook['token']}", status=410)
    for token in (
        "swh.x",
        hook["token"][:-1] + ("A" if hook["token"][-1] != "A" else "B"),
        "swh.%00.a.1.b.c",
        "swh.cgBy.a.1.b.c",
    ):
        await http("GET", f"{HOOKS}/{token}", status=404)
        await http("POST", f"{HOOKS}/{token}", True, status=404)


async def test_an_expired_hook_is_gone(http: Http):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    late = await http("POST", HOOKS, {"runId": "r", "name": "n", "action": "a", "expires": "0s"}, status=201)
    await http("GET", f"{HOOKS}/{late['token']}", status=410)
    await http("POST", f"{HOOKS}/{late['token']}", True, status=410)


async def test_who_may_only_read_does_not_learn_the_tokens(engine: Engine, live: Live, http: Http, hook: dict[str, str]):
    async with asking(live, None) as nobody:
        await nobody("GET", f"{RUNS}/r/hooks", status=401)
    assert hook["token"] not in str(await http("GET", f"{RUNS}/r/events", status=200))


async def test_one_idempotency_key_may_answer_two_hooks_of_a_run(http: Http, hook: dict[str, str]):
    other = await http("POST", HOOKS, {"runId": "r", "name": "n", "action": "approve", "key": "2"}, status=201)
    key = {"Idempotency-Key": "mine"}
    for each in (hook, other):
        await http("POST", f"{HOOKS}/{each['token']}", {"approved": True}, status=200, headers=key)
        again = await http("POST", f"{HOOKS}/{each['token']}", {"approved": True}, status=200, headers=key)
        assert again["state"] == "executed"
