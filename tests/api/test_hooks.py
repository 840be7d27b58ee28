"""Hooks: what a run asks of the outside, and how it is answered."""

import asyncio
import stat
from pathlib import Path
from typing import Any, TypedDict

import pytest

from stepwell import (
    AsyncClient,
    ConflictError,
    Context,
    Hook,
    HookExpired,
    NotFoundError,
    Settings,
    ValidationError,
    wait_for_approval,
    workflow,
)
from tests.api.tools import events_of, ran, waits_for

EVICTING = pytest.mark.parametrize("settings", [Settings(waiting_shown_ms=1, keep_ms=0)])
_client: list[AsyncClient] = []


@pytest.fixture(autouse=True)
def _known(client: AsyncClient) -> None:
    _client[:] = [client]


async def the_hook(client: AsyncClient, run_id: str, number: int = 0) -> Hook:
    """Return a hook of a run once the run waits for it."""
    await waits_for(client, run_id, "hook")
    return (await client.workflow.get_hooks(run_id))[number]


@workflow("hook-approval")
async def approval(ctx: Context) -> Any:
    hook = await _client[0].workflow.create_hook(ctx.run_id, "budget", "approve", {"amount": 5})
    return await wait_for_approval(hook.token)


@workflow("hook-loop")
async def loop(ctx: Context) -> list[Any]:
    answers = []
    for number in range(3):
        hook = await ctx.create_hook("again", "approve", number)
        answers.append(await ctx.wait_for_hook(hook.token))
    return answers


async def test_a_hook_is_shown_answered_and_its_answer_reaches_the_run(client: AsyncClient):
    # promise 1
    async with client.worker(approval):
        await client.workflow.trigger(approval, run_id="budget")
        hook = await the_hook(client, "budget")
        waiting = (await client.workflow.get_run("budget")).waiting_for
        assert waiting is not None
        assert (waiting.name, waiting.until) == ("budget", hook.expires)
        assert (hook.name, hook.action, hook.payload, hook.state) == ("budget", "approve", {"amount": 5}, "open")
        assert hook.url.endswith(f"/api/workflows/hooks/{hook.token}")
        assert hook.page_url == hook.url.replace(f"/api/workflows/hooks/{hook.token}", f"/approve#{hook.token}")
        assert hook.workflow_name == "hook-approval"
        done = await client.workflow.execute_hook(hook.token, {"ok": True})
        assert (done.state, done.answer) == ("executed", {"ok": True})
        assert await client.workflow.result("budget", 30) == {"ok": True}
    (created,) = await events_of(client, "budget", "hook_created")
    assert created.name == "budget"
    assert hook.token not in str(created.payload)


@EVICTING
async def test_a_loop_asks_anew_each_time_also_when_it_is_replayed(client: AsyncClient):
    async with client.worker(loop):
        await client.workflow.trigger(loop, run_id="loop")
        for number in range(3):
            hook = (await _open_hooks(client, "loop"))[0]
            assert hook.payload == number
            await client.workflow.execute_hook(hook.token, number * 10)
        assert await client.workflow.result("loop", 30) == [0, 10, 20]
    assert len({hook.token for hook in await client.workflow.get_hooks("loop")}) == 3


async def _open_hooks(client: AsyncClient, run_id: str) -> list[Hook]:
    while True:
        await waits_for(client, run_id, "hook")
        found = [hook for hook in await client.workflow.get_hooks(run_id) if hook.state == "open"]
        if found:
            return found


@workflow("hook-late")
async def late(ctx: Context) -> Any:
    hook = await ctx.create_hook("late", "approve")
    await ctx.wait_for_signal("go")
    return await ctx.wait_for_hook(hook.token)


async def test_an_answer_that_comes_before_the_wait_is_kept(client: AsyncClient):
    async with client.worker(late):
        await client.workflow.trigger(late, run_id="late")
        await waits_for(client, "late", "signal")
        (hook,) = await client.workflow.get_hooks("late")
        await client.workflow.execute_hook(hook.token, "early")
        await client.workflow.send_signal("late", "go")
        assert await client.workflow.result("late", 30) == "early"


async def test_of_many_answers_the_first_stands_and_the_others_are_told_it_also_when_the_run_is_over(client: AsyncClient):
    async with client.worker(approval):
        await client.workflow.trigger(approval, run_id="race")
        hook = await the_hook(client, "race")
        answers = await asyncio.gather(
            *(client.workflow.execute_hook(hook.token, number) for number in range(5)), return_exceptions=True
        )
        (winner,) = [answer.answer for answer in answers if isinstance(answer, Hook)]
        losers = [answer for answer in answers if isinstance(answer, ConflictError)]
        assert [loser.hook.answer for loser in losers] == [winner] * 4
        assert await client.workflow.result("race", 30) == winner
    with pytest.raises(ConflictError, match="answered already") as refused:
        await client.workflow.execute_hook(hook.token, "too late")
    assert refused.value.hook.answer == winner


async def test_a_hook_dies_with_its_run(client: AsyncClient):
    async with client.worker(approval):
        await client.workflow.trigger(approval, run_id="cancelled")
        hook = await the_hook(client, "cancelled")
    await client.workflow.cancel("cancelled")
    with pytest.raises(ConflictError, match="its run is cancelled"):
        await client.workflow.execute_hook(hook.token)
    with pytest.raises(ConflictError, match="is over"):
        await client.workflow.create_hook("cancelled", "another", "approve")
    assert [hook.state for hook in await client.workflow.get_hooks("cancelled")] == ["expired"]


@workflow("hook-expiring")
async def expiring(ctx: Context) -> str:
    hook = await ctx.create_hook("short", "approve", expires="20ms")
    try:
        return str(await ctx.wait_for_hook(hook.token))
    except HookExpired as error:
        await ctx.wait_for_signal("go")
        return str(error)


@EVICTING
async def test_a_hook_that_nobody_answers_expires_live_and_replayed(client: AsyncClient):
    async with client.worker(expiring):
        await client.workflow.trigger(expiring, run_id="short")
        await waits_for(client, "short", "signal")
        (hook,) = await client.workflow.get_hooks("short")
        assert hook.state == "expired"
        with pytest.raises(HookExpired, match="'short' has expired"):
            await client.workflow.execute_hook(hook.token)
        await client.workflow.send_signal("short", "go")
        assert "'short' has expired" in await client.workflow.result("short", 30)
    assert len(await events_of(client, "short", "hook_expired")) == 1


@workflow("hook-impatient")
async def impatient(ctx: Context) -> Any:
    hook = await ctx.create_hook("slow", "approve")
    try:
        return await ctx.wait_for_hook(hook.token, timeout="10ms")
    except TimeoutError:
        return ["late", await ctx.wait_for_hook(hook.token)]


@EVICTING
async def test_a_wait_that_timed_out_can_be_begun_again(client: AsyncClient):
    async with client.worker(impatient):
        await client.workflow.trigger(impatient, run_id="slow")
        while not await events_of(client, "slow", "signal_timed_out"):
            await asyncio.sleep(0.005)
        hook = await the_hook(client, "slow")
        await client.workflow.execute_hook(hook.token, "at last")
        assert await client.workflow.result("slow", 30) == ["late", "at last"]


class Decision(TypedDict):
    """What an approver says."""

    ok: bool


@workflow("hook-typed")
async def typed(ctx: Context) -> Any:
    hook = await ctx.create_hook("typed", "approve")
    try:
        return (await ctx.wait_for_hook(hook.token, type=Decision))["ok"]
    except ValidationError as error:
        return str(error)


async def test_an_answer_is_decoded_into_a_type(client: AsyncClient):
    async with client.worker(typed):
        for answer, output in (({"ok": True}, True), ({"ok": "yes"}, "ok")):
            run = await client.workflow.trigger(typed)
            await client.workflow.execute_hook((await the_hook(client, run.run_id)).token, answer)
            result = await client.workflow.result(run.run_id, 30)
            assert result == output or (isinstance(result, str) and output in result)


async def test_outside_of_workflows_the_same_question_is_the_same_hook_and_what_was_asked_first_stands(client: AsyncClient):
    await client.workflow.trigger(approval, run_id="outside")
    first = await client.workflow.create_hook("outside", "review", "approve", {"draft": 1})
    again = await client.workflow.create_hook("outside", "review", "approve", {"draft": 2})
    other = await client.workflow.create_hook("outside", "review", "approve", {"draft": 2}, key="second")
    assert again == first
    assert other.token != first.token
    assert [hook.payload for hook in await client.workflow.get_hooks("outside")] == [{"draft": 1}, {"draft": 2}]
    with pytest.raises(NotFoundError):
        await client.workflow.create_hook("none", "review", "approve")


async def test_a_token_that_was_made_up_or_changed_names_no_hook(client: AsyncClient):
    await client.workflow.trigger(approval, run_id="outside")
    hook = await client.workflow.create_hook("outside", "review", "approve")
    prefix, run, hook_id, expires, key, mac = hook.token.split(".")
    swapped = mac[:-2] + ("AA" if mac[-2:] != "AA" else "BB")
    for token in (
        "", "x", "swh.....", hook.token + "A", f"{prefix}.{run}.{hook_id}.{expires}.{key}.{swapped}",
        f"{prefix}.{run}.{hook_id}.ffffffffff.{key}.{mac}", f"{prefix}.{run}.{'0' * 24}.{expires}.{key}.{mac}", None, 5,
    ):  # fmt: skip
        with pytest.raises(NotFoundError, match=r"^there is no such hook$"):
            await client.workflow.execute_hook(token)  # type: ignore[arg-type]
    assert hook.token not in repr(hook)
    assert hook.token not in str(hook)
    assert (await client.workflow.execute_hook(hook.token)).state == "executed"


@workflow("hook-strange")
async def strange(ctx: Context, token: str) -> Any:
    return await ctx.wait_for_hook(token)


async def test_a_run_cannot_wait_for_the_hook_of_another(client: AsyncClient):
    await client.workflow.trigger(approval, run_id="outside")
    hook = await client.workflow.create_hook("outside", "review", "approve")
    async with client.worker(strange):
        run = await ran(client, strange, hook.token)
    assert run.error is not None
    assert "there is no such hook" in run.error


async def test_tokens_outlive_the_process_by_a_key_that_only_its_user_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("STEPWELL_HOOK_KEY", raising=False)
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with AsyncClient(url) as client:
        await client.workflow.trigger(approval, run_id="outside")
        hook = await client.workflow.create_hook("outside", "review", "approve")
    key = tmp_path / "app.db.hookkey"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    async with AsyncClient(url) as client:
        assert (await client.workflow.get_hooks("outside"))[0].token == hook.token
    key.unlink()
    async with AsyncClient(url) as client:  # without the key nothing that was handed out is believed
        with pytest.raises(NotFoundError):
            await client.workflow.execute_hook(hook.token)
