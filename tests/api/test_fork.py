"""Forks: runs that share the beginning of another's history, and go on from there."""

import asyncio
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    ChildFailed,
    ConflictError,
    Context,
    Event,
    NotFoundError,
    Run,
    Settings,
    SignalTimeout,
    ValidationError,
    Workflow,
    step,
    workflow,
)
from tests.api.tools import events_of, ran, seen, types_of, waits_for

WITHIN_S = 30

_bodies: list[tuple[str, Any]] = []
"""Of each body that ran its name, and what it was given."""
_failing: set[str] = set()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    _bodies.clear()
    _failing.clear()


def _step(name: str, **options: Any) -> Any:
    async def body(value: Any = None) -> Any:
        _bodies.append((name, value))
        if name in _failing:
            raise ValueError(f"{name} is broken")
        return f"{name}({value})"

    return step(name, body, **options)


def _ran() -> list[str]:
    return [name for name, _ in _bodies]


async def _end(client: AsyncClient, fork: Run[Any]) -> Any:
    return await client.workflow.result(fork.run_id, WITHIN_S)


async def _seq_of(client: AsyncClient, run_id: str, event_type: str, count: int = 1) -> int:
    return (await events_of(client, run_id, event_type))[count - 1].seq


# -- what is shared


@workflow("forked-order")
async def order(ctx: Context, input: Any) -> Any:
    first = await _step("first")(input)
    drawn = [ctx.started_at.isoformat(), ctx.now().isoformat(), ctx.random().random(), str(ctx.uuid4())]
    second = await _step("second")(first)
    return [first, second, drawn, ctx.run_id, ctx.parent_run_id, ctx.attempt]


async def test_a_fork_of_a_run_that_is_over_takes_over_all_its_steps(client: AsyncClient):
    async with client.worker(order):
        source = await ran(client, order, "x", tags=["t"], priority=3, idempotency_key="k")
        _bodies.clear()
        fork = await client.workflow.fork(source.run_id)
        output = await _end(client, fork)
    assert _bodies == []
    assert output == [*source.output[:3], fork.run_id, None, 1]
    assert fork.created
    found = await client.workflow.get_run(fork.run_id)
    assert (found.workflow_name, found.input, found.tags, found.priority) == ("forked-order", "x", ["t"], 3)
    assert (found.idempotency_key, found.parent_run_id) == (None, None)
    before, after = await client.workflow.get_events(source.run_id), await client.workflow.get_events(fork.run_id)
    assert [_essence(event) for event in before[1:-1]] == [_essence(event) for event in after[1 : len(before) - 1]]
    types = [event.event_type for event in after]
    assert types == [*(event.event_type for event in before[:-1]), "run_forked", "run_started", "run_completed"]
    forked = after[len(before) - 1]
    assert forked.payload == {"sourceRunId": source.run_id, "fromEvent": len(before) - 1, "voided": []}
    assert (await client.workflow.get_run(source.run_id)).updated_at == source.updated_at


def _essence(event: Event) -> Any:
    return event.seq, event.event_type, event.step_id, event.name, event.payload, event.created_at


async def test_a_fork_goes_on_behind_the_event_that_is_named(client: AsyncClient):
    async with client.worker(order):
        source = await ran(client, order, "x")
        _bodies.clear()
        fork = await client.workflow.fork(source.run_id, from_event=await _seq_of(client, source.run_id, "step_completed"))
        output = await _end(client, fork)
    assert _ran() == ["second"]
    # Random numbers, ids and times up to there are the source's.
    assert output[:3] == source.output[:3]


async def test_a_fork_from_the_first_event_does_everything_anew(client: AsyncClient):
    async with client.worker(order):
        source = await ran(client, order, "x")
        _bodies.clear()
        assert (await _end(client, await client.workflow.fork(source.run_id, 1)))[:2] == source.output[:2]
    assert _ran() == ["first", "second"]


async def test_a_fork_with_another_input_keeps_what_is_shared_and_is_not_compared_with_it(client: AsyncClient):
    async with client.worker(order):
        source = await ran(client, order, "x")
        _bodies.clear()
        at = await _seq_of(client, source.run_id, "step_completed")
        fork = await client.workflow.fork(source.run_id, at, input={"y": None})
        assert (await _end(client, fork))[:2] == ["first(x)", "second(first(x))"]
        assert (await client.workflow.get_run(fork.run_id)).input == {"y": None}
        nothing = await client.workflow.fork(source.run_id, 1, input=None)
        assert (await _end(client, nothing))[0] == "first(None)"
    assert _ran() == ["second", "first", "second"]


@workflow("forked-choice")
async def choice(ctx: Context, input: Any) -> Any:
    if input == "left":
        await _step("left")()
    else:
        await _step("right")()
    await ctx.wait_for_signal("go")
    return input


async def test_what_is_shared_need_not_be_asked_for(client: AsyncClient):
    async with client.worker(choice):
        source = await client.workflow.trigger(choice, "left")
        await waits_for(client, source.run_id, "signal")
        fork = await client.workflow.fork(source.run_id, input="right")
        await waits_for(client, fork.run_id, "signal")
    # Evicted, and read again from its beginning.
    async with client.worker(choice):
        await client.workflow.send_signal(fork.run_id, "go")
        assert await _end(client, fork) == "right"
    assert _ran() == ["left", "right"]


def _changed(argument: Any) -> Workflow[Any, Any]:
    """Define a workflow whose step has this argument: what a deployment does."""

    @workflow("forked-changed")
    async def changed(ctx: Context) -> Any:
        await _step("one")(argument)
        await ctx.wait_for_signal("go")

    return changed


async def test_what_a_fork_has_recorded_itself_is_compared_as_in_any_run(client: AsyncClient):
    # promise 5
    before = _changed(None)
    async with client.worker(before):
        source = await client.workflow.trigger(before)
        await waits_for(client, source.run_id, "signal")
        fork = await client.workflow.fork(source.run_id, 1)
        await waits_for(client, fork.run_id, "signal")

    async with client.worker(_changed("something else")):
        shown = await waits_for(client, fork.run_id, "code")
        assert "'one' with other arguments" in str(shown.error)
        unharmed = await client.workflow.fork(fork.run_id)
        await waits_for(client, unharmed.run_id, "signal")
        again = await waits_for(client, source.run_id, "code")
        assert again.status == "running"


@workflow("forked-versions", version="1")
async def first_version(ctx: Context) -> str:
    await _step("shared")()
    await ctx.wait_for_signal("never")
    return "one"


@workflow("forked-versions", version="2")
async def second_version(ctx: Context) -> Any:
    return [await _step("shared")(), await _step("new")()]


async def test_a_fork_may_go_on_with_another_version_of_the_code(client: AsyncClient):
    async with client.worker(first_version):
        source = await client.workflow.trigger(first_version, version="1")
        await waits_for(client, source.run_id, "signal")
    same = await client.workflow.fork(source.run_id)
    assert same.version == "1"
    fork = await client.workflow.fork(source.run_id, version="2")
    async with client.worker(second_version):
        assert await _end(client, fork) == ["shared(None)", "new(None)"]
    assert _ran() == ["shared", "new"]


async def test_a_fork_of_a_fork_shares_with_both(client: AsyncClient):
    async with client.worker(order):
        source = await ran(client, order, "x")
        first = await client.workflow.fork(source.run_id, await _seq_of(client, source.run_id, "step_completed"))
        await _end(client, first)
        _bodies.clear()
        second = await client.workflow.fork(first.run_id)
        assert (await _end(client, second))[:3] == source.output[:3]
        third = await client.workflow.fork(second.run_id, from_event=1, input="z")
        assert (await _end(client, third))[0] == "first(z)"
    assert _ran() == ["first", "second"]
    assert len(await events_of(client, second.run_id, "run_forked")) == 2
    assert len(await events_of(client, third.run_id, "run_forked")) == 1


# -- where it may part


async def test_an_event_that_cannot_be_shared_is_refused_and_nothing_is_stored(client: AsyncClient):
    # promise 14
    async with client.worker(order):
        source = await ran(client, order, "x")
    last = source.event_count
    before = (await client.workflow.stats()).runs
    for wrong in (0, -1, last, last + 1, 10**12, True, "3", 2.0, 2**60):
        with pytest.raises(ValidationError, match="from_event") as caught:
            await client.workflow.fork(source.run_id, from_event=wrong)  # type: ignore[arg-type]
        assert caught.value.field == "from_event"
    with pytest.raises(ValidationError, match="run_id"):
        await client.workflow.fork(source.run_id, run_id="no good")
    with pytest.raises(ValidationError, match="input"):
        await client.workflow.fork(source.run_id, input=float("nan"))
    with pytest.raises(NotFoundError):
        await client.workflow.fork("none")
    assert (await client.workflow.stats()).runs == before


async def test_the_end_of_an_earlier_attempt_is_no_place_to_part(client: AsyncClient):
    _failing.add("second")
    async with client.worker(order):
        source = await ran(client, order, "x")
        _failing.clear()
        await client.workflow.retry(source.run_id)
        await client.workflow.wait(source.run_id, WITHIN_S)
        failed = await _seq_of(client, source.run_id, "run_failed")
        with pytest.raises(ValidationError, match="end of an attempt"):
            await client.workflow.fork(source.run_id, failed)
        _bodies.clear()
        for at in (failed - 2, failed + 1):
            assert (await _end(client, await client.workflow.fork(source.run_id, at)))[1] == "second(first(x))"
        # Shared with the failure, and without what was done about it.
        kept = await client.workflow.fork(source.run_id, failed - 1)
        assert (await client.workflow.wait(kept.run_id, WITHIN_S)).status == "failed"
    assert _ran() == ["second", "second"]
    assert await client.check_store() == []


async def test_a_fork_of_a_failed_run_does_again_what_the_failure_came_from(client: AsyncClient):
    _failing.add("second")
    async with client.worker(order):
        source = await ran(client, order, "x")
        assert source.status == "failed"
        _failing.clear()
        _bodies.clear()
        fork = await client.workflow.fork(source.run_id)
        assert (await _end(client, fork))[:2] == ["first(x)", "second(first(x))"]
    assert _ran() == ["second"]
    assert (await events_of(client, fork.run_id, "run_forked"))[0].payload["voided"] == ["second"]
    assert (await client.workflow.get_run(source.run_id)).status == "failed"


@workflow("forked-limited", max_events=6)
async def limited(ctx: Context) -> None:
    for _ in range(10):
        await _step("one")()


async def test_a_history_without_room_to_go_on_is_not_shared(client: AsyncClient):
    # promise 10
    async with client.worker(limited):
        source = await ran(client, limited)
        assert "MaxEventsError" in str(source.error)
        with pytest.raises(ConflictError, match="max_events"):
            await client.workflow.fork(source.run_id)
        fork = await client.workflow.fork(source.run_id, 3)
        assert (await client.workflow.wait(fork.run_id, WITHIN_S)).event_count == 6


@workflow("forked-undone")
async def undone(ctx: Context, input: Any) -> None:
    async def undo(result: Any) -> None:
        _bodies.append(("undo", result))

    await _step("one", compensate=undo)(input)
    await _step("two", compensate=undo)()
    await _step("three")()


async def test_a_run_that_was_undone_is_shared_up_to_there_and_what_is_shared_is_not_undone_again(client: AsyncClient):
    _failing.add("three")
    async with client.worker(undone):
        source = await ran(client, undone, "x")
        assert _ran() == ["one", "two", "three", "undo", "undo"]
        with pytest.raises(ConflictError):
            await client.workflow.retry(source.run_id)
        started = await _seq_of(client, source.run_id, "compensation_started")
        with pytest.raises(ValidationError, match=f"1 to {started - 1}, not {started}"):
            await client.workflow.fork(source.run_id, started)
        _bodies.clear()
        fork = await client.workflow.fork(source.run_id)
        assert (await client.workflow.wait(fork.run_id, WITHIN_S)).status == "failed"
        assert _ran() == ["three"]
        _bodies.clear()
        # Its own steps are.
        fork = await client.workflow.fork(source.run_id, await _seq_of(client, source.run_id, "step_completed"))
        assert (await client.workflow.wait(fork.run_id, WITHIN_S)).status == "failed"
        assert _bodies[-1] == ("undo", "two(None)")
        assert _ran() == ["two", "three", "undo"]
    assert await client.check_store() == []


# -- a source in any state


class _Gate:
    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()


_gates: dict[str, _Gate] = {}


@workflow("forked-slow")
async def slow(ctx: Context) -> Any:
    async def body() -> str:
        _bodies.append(("slow", None))
        gate = _gates[ctx.run_id]
        gate.reached.set()
        await gate.opened.wait()
        return ctx.run_id

    return [await _step("before")(), await step("slow", body, at_most_once=True)()]


async def test_a_step_that_was_under_way_is_the_forks_own_to_do(client: AsyncClient):
    # Also one that is done at most once: once in each run.
    for name in ("source", "fork"):
        _gates[name] = _Gate()
    async with client.worker(slow):
        await client.workflow.trigger(slow, run_id="source")
        await _gates["source"].reached.wait()
        assert (await types_of(client, "source"))[-1] == "step_started"
        await client.workflow.fork("source", run_id="fork")
        await _gates["fork"].reached.wait()
        for gate in _gates.values():
            gate.opened.set()
        assert await client.workflow.result("fork", WITHIN_S) == ["before(None)", "fork"]
        assert await client.workflow.result("source", WITHIN_S) == ["before(None)", "source"]
    assert _ran() == ["before", "slow", "slow"]


async def test_pending_paused_and_cancelled_runs_can_be_forked(client: AsyncClient):
    for name, act in (("pending", None), ("paused", client.workflow.pause), ("cancelled", client.workflow.cancel)):
        await client.workflow.trigger(order, name, run_id=name)
        if act is not None:
            await act(name)
        assert (await client.workflow.get_run(name)).status == name
        fork = await client.workflow.fork(name)
        assert fork.status == "pending"
    await client.workflow.cancel("pending")
    async with client.worker(order):
        for name in ("pending", "paused", "cancelled"):
            forks = [run async for run in client.workflow.iter_runs(order, include=["input"]) if run.input == name]
            (fork,) = [run for run in forks if run.run_id != name]
            assert (await _end(client, fork))[0] == f"first({name})"


async def test_a_fork_that_is_asked_for_twice_under_one_id_is_made_once(client: AsyncClient):
    async with client.worker(order):
        source = await ran(client, order, "x")
        made = [await client.workflow.fork(source.run_id, 3, run_id="fork") for _ in range(2)]
        assert [fork.created for fork in made] == [True, False]
        with pytest.raises(ConflictError, match="taken"):
            await client.workflow.fork(source.run_id, 2, run_id="fork")
        with pytest.raises(ConflictError, match="taken"):
            await client.workflow.fork(source.run_id, 3, input="y", run_id="fork")
        # Equality of input is equality of JSON.
        same = [
            await client.workflow.fork(source.run_id, 3, input=value, run_id="json")
            for value in ({"a": 1, "b": 2}, {"b": 2, "a": 1})
        ]
        assert [fork.created for fork in same] == [True, False]
        with pytest.raises(ConflictError, match="taken"):
            await client.workflow.fork(source.run_id, run_id=source.run_id)
        await client.workflow.wait("fork", WITHIN_S)


async def test_many_forks_of_a_run_that_moves_are_each_whole(client: AsyncClient):
    @workflow("forked-moving")
    async def moving(ctx: Context) -> int:
        for number in range(60):
            await step("one", lambda n: n)(number)
        return 60

    async with client.worker(moving):
        source = await client.workflow.trigger(moving)
        forks = []
        while not (await client.workflow.get_run(source.run_id)).is_over:
            forks += await asyncio.gather(*(client.workflow.fork(source.run_id) for _ in range(5)))
        assert {await _end(client, fork) for fork in forks} <= {60}
        for fork in forks:
            events = await client.workflow.get_events(fork.run_id)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert len([event for event in events if event.event_type == "step_completed"]) == 60


# -- what was open


@workflow("forked-naps")
async def naps(ctx: Context) -> str:
    await ctx.sleep("1h")
    return "slept"


@pytest.mark.parametrize("settings", [Settings(waiting_shown_ms=1, keep_ms=0)])
async def test_an_open_sleep_keeps_its_end(client: AsyncClient):
    # promise 7
    async with client.worker(naps):
        source = await client.workflow.trigger(naps)
        waiting = (await waits_for(client, source.run_id, "sleep")).waiting_for
        fork = await client.workflow.fork(source.run_id)
        again = (await waits_for(client, fork.run_id, "sleep")).waiting_for
    assert waiting is not None
    assert again is not None
    assert again.until == waiting.until


@workflow("forked-signals")
async def signals(ctx: Context) -> list[Any]:
    got = [await ctx.wait_for_signal("go")]
    await _step("between")()
    got.append(await ctx.wait_for_signal("go"))
    await ctx.set_state(len(got))
    got.append(await ctx.wait_for_signal("go"))
    return got


async def test_signals_in_the_shared_history_are_the_forks_too_and_unread_ones_are_not(client: AsyncClient):
    # promise 6
    async with client.worker(signals):
        source = await client.workflow.trigger(signals)
        for number in range(2):
            await client.workflow.send_signal(source.run_id, "go", number)
        await seen(client, source.run_id, "state_set")
    await client.workflow.send_signal(source.run_id, "go", "unread")
    fork = await client.workflow.fork(source.run_id)
    # The first was consumed, the second was transcribed: which of the two came first does not matter.
    early = await client.workflow.fork(source.run_id, await _seq_of(client, source.run_id, "signal_received", 2))
    _bodies.clear()
    async with client.worker(signals):
        for one in (fork, early):
            await waits_for(client, one.run_id, "signal")
            await client.workflow.send_signal(one.run_id, "go", "own")
            assert await _end(client, one) == [0, 1, "own"]
        assert await client.workflow.result(source.run_id, WITHIN_S) == [0, 1, "unread"]
    assert (await client.workflow.get_run(fork.run_id)).state == 2
    assert await client.check_store() == []


@workflow("forked-takers")
async def takers(ctx: Context) -> Any:
    async def taker() -> Any:
        return await ctx.wait_for_signal("go")

    return await ctx.parallel([taker, taker, taker])


async def test_who_took_a_signal_stays_so_and_the_forks_own_signals_are_never_mistaken_for_shared_ones(client: AsyncClient):
    async with client.worker(takers):
        source = await client.workflow.trigger(takers)
        await client.workflow.send_signal(source.run_id, "go", "shared")
        await seen(client, source.run_id, "race_won")
        fork = await client.workflow.fork(source.run_id)
        await client.workflow.send_signal(fork.run_id, "go", 0)
        await seen(client, fork.run_id, "race_won", 2)  # so that the next is not among what the fork of it shares
        await client.workflow.send_signal(fork.run_id, "go", 1)
        assert sorted(map(str, await _end(client, fork))) == ["0", "1", "shared"]
        again = await client.workflow.fork(fork.run_id, await _seq_of(client, fork.run_id, "race_won", 2))
        await client.workflow.send_signal(again.run_id, "go", "last")
        assert sorted(map(str, await _end(client, again))) == ["0", "last", "shared"]


@workflow("forked-limit")
async def waits_briefly(ctx: Context, timeout: str) -> str:
    try:
        return await ctx.wait_for_signal("go", timeout=timeout)
    except SignalTimeout:
        return "late"


async def test_the_time_out_of_an_open_wait_begins_anew_and_one_that_is_over_stays_over(client: AsyncClient):
    async with client.worker(waits_briefly):
        source = await client.workflow.trigger(waits_briefly, "1h")
        first = (await waits_for(client, source.run_id, "signal")).waiting_for
        fork = await client.workflow.fork(source.run_id)
        again = (await waits_for(client, fork.run_id, "signal")).waiting_for
        assert first is not None
        assert again is not None
        assert again.until is not None
        assert first.until is not None
        assert again.until > first.until
        await client.workflow.send_signal(fork.run_id, "go", "in time")
        assert await _end(client, fork) == "in time"
        over = await ran(client, waits_briefly, "1ms")
        assert await _end(client, await client.workflow.fork(over.run_id)) == "late"


@workflow("forked-retrying")
async def retrying(ctx: Context) -> Any:
    return await _step("unsure", retries=3, retry_delay="1h")()


async def test_a_delay_before_a_retry_keeps_its_end_and_the_attempts_their_count(client: AsyncClient):
    _failing.add("unsure")
    async with client.worker(retrying):
        source = await client.workflow.trigger(retrying)
        first = (await waits_for(client, source.run_id, "retry")).waiting_for
        fork = await client.workflow.fork(source.run_id)
        again = (await waits_for(client, fork.run_id, "retry")).waiting_for
    assert first is not None
    assert again is not None
    assert again.until == first.until
    assert _ran() == ["unsure"]


# -- hooks


@workflow("forked-hooks")
async def hooked(ctx: Context) -> Any:
    hook = await ctx.create_hook("expense", "approve", {"amount": 3}, expires="1h")
    token = await step("send", lambda: hook.token)()
    for attempt in range(3):
        try:
            return [await ctx.wait_for_hook(hook.token, timeout="5ms" if attempt == 0 else None), token == hook.token]
        except TimeoutError:
            await _step("remind")(attempt)
    return None


async def test_an_open_hook_gets_a_token_of_the_forks_own_and_what_was_waited_for_stays_so(client: AsyncClient):
    async with client.worker(hooked):
        source = await client.workflow.trigger(hooked)
        await seen(client, source.run_id, "step_completed", 3)
        fork = await client.workflow.fork(source.run_id)
        (old,), (new,) = await client.workflow.get_hooks(source.run_id), await client.workflow.get_hooks(fork.run_id)
        assert old.token != new.token
        assert (new.run_id, new.name, new.action, new.payload) == (fork.run_id, "expense", "approve", {"amount": 3})
        await waits_for(client, fork.run_id, "hook")
        await client.workflow.execute_hook(new.token, "yes")
        # Steps that have recorded the old token have the new one in the fork.
        assert await _end(client, fork) == ["yes", True]
        assert (await client.workflow.get_run(source.run_id)).status == "running"
        await client.workflow.execute_hook(old.token, "no")
        assert await client.workflow.result(source.run_id, WITHIN_S) == ["no", True]
    # The wait that had timed out was not waited for again.
    assert _ran() == ["remind"]


async def test_a_fork_from_within_the_making_of_a_hook_makes_one_hook(client: AsyncClient):
    async with client.worker(hooked):
        source = await client.workflow.trigger(hooked)
        await seen(client, source.run_id, "step_completed", 3)
        fork = await client.workflow.fork(source.run_id, await _seq_of(client, source.run_id, "hook_created"))
        await seen(client, fork.run_id, "step_completed", 3)
        assert len(await client.workflow.get_hooks(fork.run_id)) == 1


async def test_a_hook_that_was_made_from_outside_is_asked_anew_of_the_fork(client: AsyncClient):
    await client.workflow.trigger(hooked, run_id="source")
    old = await client.workflow.create_hook("source", "from outside", "approve")
    fork = await client.workflow.fork("source")
    (new,) = await client.workflow.get_hooks(fork.run_id)
    assert new.token != old.token
    assert (await client.workflow.create_hook(fork.run_id, "from outside", "approve")).token == new.token


async def test_an_answered_hook_stays_answered(client: AsyncClient):
    async with client.worker(hooked):
        source = await client.workflow.trigger(hooked)
        await seen(client, source.run_id, "hook_created")
        (hook,) = await client.workflow.get_hooks(source.run_id)
        await client.workflow.execute_hook(hook.token, "yes")
        await client.workflow.result(source.run_id, WITHIN_S)
        fork = await client.workflow.fork(source.run_id)
        assert (await _end(client, fork))[0] == "yes"
        assert await client.workflow.get_hooks(fork.run_id) == []


# -- children


@workflow("forked-child")
async def child(ctx: Context, name: str) -> str:
    if name == "waits":
        return f"{name} {await ctx.wait_for_signal('go')}"
    return await _step("child")(name)


@workflow("forked-parent")
async def parent(ctx: Context) -> Any:
    done = await ctx.run_child(child, "quick")
    kid = await ctx.start_child(child, "waits")
    note = await step("note", lambda: kid.run_id)()
    polled = await client_here().workflow.get_run(kid.run_id)
    return [done, await client_here().workflow.result(kid), note == kid.run_id, polled.status == "completed"]


_client: list[AsyncClient] = []


def client_here() -> AsyncClient:
    """Return the client of the test that runs."""
    return _client[-1]


async def test_an_open_child_is_started_anew_under_the_fork_and_one_that_was_over_is_not(client: AsyncClient):
    _client.append(client)
    async with client.worker(parent, child):
        source = await client.workflow.trigger(parent)
        await seen(client, source.run_id, "child_started", 2)
        (open_child,) = [kid for kid in await client.workflow.get_child_runs(source.run_id) if not kid.is_over]
        fork = await client.workflow.fork(source.run_id)
        await waits_for(client, fork.run_id, "child")
        (own,) = await client.workflow.get_child_runs(fork.run_id)
        assert own.run_id != open_child.run_id
        await client.workflow.send_signal(own.run_id, "go", 1)
        assert await _end(client, fork) == ["child(quick)", "waits 1", True, False]
        assert (await client.workflow.get_run(open_child.run_id)).status == "running"
        await client.workflow.send_signal(open_child.run_id, "go", 2)
        assert await client.workflow.result(source.run_id, WITHIN_S) == ["child(quick)", "waits 2", True, False]
        # Now all is over, and seen to be so.
        again = await client.workflow.fork(source.run_id)
        assert await _end(client, again) == ["child(quick)", "waits 2", True, False]
        assert len(await client.workflow.get_child_runs(again.run_id)) == 0
    assert _ran() == ["child"]
    assert await client.check_store() == []


async def test_a_cancelled_fork_takes_its_own_child_along_and_not_the_sources(client: AsyncClient):
    _client.append(client)
    async with client.worker(parent, child):
        source = await client.workflow.trigger(parent)
        await seen(client, source.run_id, "child_started", 2)
        fork = await client.workflow.fork(source.run_id)
        await waits_for(client, fork.run_id, "child")
        await client.workflow.cancel(fork.run_id)
        (own,) = await client.workflow.get_child_runs(fork.run_id)
        assert own.status == "cancelled"
        assert {kid.status for kid in await client.workflow.get_child_runs(source.run_id)} == {"completed", "running"}


@workflow("forked-parent-of-failing")
async def parent_of_failing(ctx: Context, name: str) -> Any:
    try:
        await ctx.run_child(child, "quick")
    except ChildFailed as error:
        await _step("caught")(error.message)
    return await ctx.run_child(child, name)


async def test_a_failed_child_is_started_anew_if_the_run_failed_by_it_and_replayed_if_it_was_caught(client: AsyncClient):
    _failing.add("child")
    async with client.worker(parent_of_failing, child):
        source = await ran(client, parent_of_failing, "second")
        assert source.status == "failed"
        _failing.clear()
        _bodies.clear()
        fork = await client.workflow.fork(source.run_id)
        assert await _end(client, fork) == "child(second)"
    assert _bodies == [("child", "second")]
    (own,) = await client.workflow.get_child_runs(fork.run_id)
    assert own.parent_run_id == fork.run_id


@workflow("forked-waits-for-another")
async def waits_for_another(ctx: Context, run_id: str) -> Any:
    return await client_here().workflow.result(run_id)


async def test_a_fork_waits_for_a_run_that_is_not_its_child_as_the_source_does(client: AsyncClient):
    _client.append(client)
    async with client.worker(waits_for_another, child):
        other = await client.workflow.trigger(child, "waits")
        source = await client.workflow.trigger(waits_for_another, other.run_id)
        await waits_for(client, source.run_id, "child")
        fork = await client.workflow.fork(source.run_id)
        await waits_for(client, fork.run_id, "child")
        await client.workflow.send_signal(other.run_id, "go", 0)
        assert await _end(client, fork) == await client.workflow.result(source.run_id, WITHIN_S) == "waits 0"


@workflow("forked-emits")
async def emits(ctx: Context) -> int:
    await ctx.emit("noted", 1)
    await ctx.emit("noted", 2)
    return sum(event.event_type == "noted" for event in await client_here().workflow.get_events(ctx.run_id))


async def test_an_event_that_was_emitted_and_not_yet_recorded_to_be_is_emitted_once(client: AsyncClient):
    _client.append(client)
    async with client.worker(emits):
        source = await ran(client, emits)
        for event in await client.workflow.get_events(source.run_id):
            if event.seq < source.event_count:
                fork = await client.workflow.fork(source.run_id, event.seq)
                assert await _end(client, fork) == source.output == 2
                noted = await events_of(client, fork.run_id, "noted")
                assert [each.payload for each in noted] == [1, 2]


# -- from within a workflow


@workflow("forked-by-workflow")
async def forks_another(ctx: Context, run_id: str) -> Any:
    fork = await client_here().workflow.fork(run_id, input="again")
    await ctx.wait_for_signal("go")

    async def in_a_step() -> str:
        first = await client_here().workflow.fork(run_id)
        if "crash" in _failing:
            _failing.remove("crash")
            raise OSError("after the fork")
        return first.run_id

    twice = await step("in-a-step", in_a_step, retries=1, retry_delay=0)()
    return [fork.run_id, twice]


async def test_a_fork_made_in_a_workflow_is_made_once(client: AsyncClient):
    _client.append(client)
    _failing.add("crash")
    async with client.worker(order):
        source = await ran(client, order, "x")
    async with client.worker(forks_another):
        run = await client.workflow.trigger(forks_another, source.run_id)
        await waits_for(client, run.run_id, "signal")
    async with client.worker(forks_another, order):
        await client.workflow.send_signal(run.run_id, "go")
        forks = await client.workflow.result(run.run_id, WITHIN_S)
        for fork in forks:
            await client.workflow.wait(fork, WITHIN_S)
    assert {found.run_id async for found in client.workflow.iter_runs(order)} == {source.run_id, *forks}
