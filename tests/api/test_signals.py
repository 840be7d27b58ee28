"""Signals: kept, in order, once each."""

import asyncio
import dataclasses
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from stepwell import (
    AsyncClient,
    ConflictError,
    NotFoundError,
    Settings,
    SignalTimeout,
    ValidationError,
    step,
    workflow,
)
from tests.api.tools import cases, events_of, executed, seen, types_of, until, waits_for
from tests.clients import PATIENCE_S


async def test_a_waiting_run_goes_on_with_the_payload(client: AsyncClient):
    @workflow("signals-waiting")
    async def wf(ctx):
        return await ctx.wait_for_signal("approval")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        shown = await waits_for(client, run.run_id, "signal")
        assert shown.status == "running"
        assert shown.waiting_for is not None
        assert (shown.waiting_for.name, shown.waiting_for.until, shown.waiting_for.others) == ("approval", None, 0)
        await client.workflow.send_signal(run.run_id, "approval", {"approved": True})
        assert await client.workflow.result(run.run_id, PATIENCE_S) == {"approved": True}
    assert (await client.workflow.get_run(run.run_id)).waiting_for is None


async def test_signals_sent_before_the_run_has_started_are_kept_in_order(client: AsyncClient):
    # promise 6, trap 19
    @workflow("signals-before")
    async def wf(ctx):
        return [await ctx.wait_for_signal("n") for _ in range(20)]

    run = await client.workflow.trigger(wf)
    for number in range(20):
        await client.workflow.send_signal(run.run_id, "n", number)
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == list(range(20))


async def test_signals_sent_while_no_worker_lives_are_kept_in_order(client: AsyncClient):
    # promise 6, trap 19
    @workflow("signals-down")
    async def wf(ctx):
        return [await ctx.wait_for_signal("n") for _ in range(6)]

    run = await client.workflow.trigger(wf)
    for number in range(6):
        if number % 2 == 0:
            await client.workflow.send_signal(run.run_id, "n", number)
        else:
            async with client.worker(wf):
                await client.workflow.send_signal(run.run_id, "n", number)
                await seen(client, run.run_id, "signal_received", number + 1)
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == list(range(6))


@pytest.mark.parametrize(
    "settings", [Settings(waiting_shown_ms=1), Settings(keep_ms=0, waiting_shown_ms=1)], ids=["kept", "evicted"]
)
async def test_signals_of_many_senders_are_consumed_once_each_and_in_each_senders_order(client: AsyncClient):
    # promise 6, trap 20 (short form)
    senders, each = 5, 40

    @workflow("signals-many")
    async def wf(ctx):
        return [await ctx.wait_for_signal("n") for _ in range(senders * each)]

    async def send(sender: int, run_id: str) -> None:
        for number in range(each):
            for _ in range(1 + number % 2):  # every second one twice, as a client does whose answer was lost
                await client.workflow.send_signal(run_id, "n", [sender, number], signal_id=f"{sender}-{number}")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await asyncio.gather(*(send(sender, run.run_id) for sender in range(senders)))
        got = await client.workflow.result(run.run_id, PATIENCE_S)
    for sender in range(senders):
        assert [number for who, number in got if who == sender] == list(range(each))


async def test_one_signal_id_is_one_signal(client: AsyncClient):
    # promise 6
    @workflow("signals-id")
    async def wf(ctx):
        return [await ctx.wait_for_signal("n"), await ctx.wait_for_signal("n")]

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        for payload in ("first", "the same again", "and again"):
            await client.workflow.send_signal(run.run_id, "n", payload, signal_id="one")
        await seen(client, run.run_id, "signal_received")
        await client.workflow.send_signal(run.run_id, "n", "after it was consumed", signal_id="one")
        await client.workflow.send_signal(run.run_id, "n", "second")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == ["first", "second"]


async def test_names_are_queues_of_their_own(client: AsyncClient):
    @workflow("signals-names")
    async def wf(ctx):
        return [await ctx.wait_for_signal("b"), await ctx.wait_for_signal("a"), await ctx.wait_for_signal("a")]

    run = await client.workflow.trigger(wf)
    for name, payload in (("a", 1), ("a", 2), ("b", 3), ("c", 4)):
        await client.workflow.send_signal(run.run_id, name, payload)
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [3, 1, 2]


async def test_a_signal_is_told_in_the_history(client: AsyncClient):
    @workflow("signals-history")
    async def wf(ctx):
        await ctx.wait_for_signal("go")

    run = await client.workflow.trigger(wf)
    await client.workflow.send_signal(run.run_id, "go", {"a": 1}, signal_id="mine")
    async with client.worker(wf):
        await client.workflow.wait(run.run_id, PATIENCE_S)
    (event,) = await events_of(client, run.run_id, "signal_received")
    assert event.name == "go"
    assert event.payload["payload"] == {"a": 1}
    assert event.payload["signalId"] == "mine"


# -- time-outs


@pytest.mark.parametrize("settings", [Settings(), Settings(keep_ms=0)], ids=["kept", "evicted"])
async def test_a_wait_that_times_out_raises_live_and_replayed(client: AsyncClient):
    # promise 5
    got: list[SignalTimeout] = []

    @workflow("signals-time-out")
    async def wf(ctx):
        try:
            await ctx.wait_for_signal("never", timeout="30ms")
        except SignalTimeout as error:
            got.append(error)
        return await ctx.wait_for_signal("go")

    async def was_raised() -> bool:
        return bool(got)

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await until(was_raised)
        await seen(client, run.run_id, "signal_timed_out")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "never", "too late for the first wait")
        await client.workflow.send_signal(run.run_id, "go", "went on")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "went on"
    assert len(got) >= 2
    assert {(str(error), error.name, error.code) for error in got} == {(str(got[0]), "never", "signal_timeout")}
    assert isinstance(got[0], TimeoutError)


async def test_a_time_out_survives_restarts_and_is_not_begun_again(client: AsyncClient):
    @workflow("signals-time-out-restart")
    async def wf(ctx):
        await ctx.wait_for_signal("go", timeout="1h")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        before = (await waits_for(client, run.run_id, "signal")).waiting_for
    async with client.worker(wf):
        after = (await waits_for(client, run.run_id, "signal")).waiting_for
        await client.workflow.cancel(run.run_id)
    assert before is not None
    assert before.until is not None
    assert before == after


async def test_a_loop_with_time_outs_takes_every_signal(client: AsyncClient):
    # promise 6
    @workflow("signals-loop")
    async def wf(ctx):
        got, timeouts = [], 0
        while len(got) < 30:
            try:
                got.append(await ctx.wait_for_signal("n", timeout="2ms"))
            except SignalTimeout:
                timeouts += 1
        return got

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        for number in range(30):
            await client.workflow.send_signal(run.run_id, "n", number)
            if number % 7 == 0:
                await asyncio.sleep(0.005)
        assert await client.workflow.result(run.run_id, PATIENCE_S) == list(range(30))


async def test_a_time_out_of_nothing_takes_what_is_there_and_else_times_out(client: AsyncClient):
    @workflow("signals-time-out-zero")
    async def wf(ctx):
        first = await ctx.wait_for_signal("n", timeout=0)
        with pytest.raises(SignalTimeout):
            await ctx.wait_for_signal("n", timeout="0s")
        return first

    run = await client.workflow.trigger(wf)
    await client.workflow.send_signal(run.run_id, "n", "there")
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "there"


# -- types


@dataclasses.dataclass
class Decision:
    approved: bool
    by: str = "nobody"


class DecisionDict(TypedDict):
    approved: bool


class DecisionStruct(msgspec.Struct):
    approved: bool


class DecisionModel(pydantic.BaseModel):
    approved: bool


@cases(
    ("kind", "expected"),
    [
        (Decision, Decision(True)),
        (DecisionDict, {"approved": True}),
        (DecisionStruct, DecisionStruct(True)),
        (DecisionModel, DecisionModel(approved=True)),
    ],
)
async def test_a_payload_is_decoded_into_the_type_that_is_asked_for(client: AsyncClient, kind: Any, expected: Any):
    got: list[Any] = []

    @workflow("signals-typed")
    async def wf(ctx):
        got.append(await ctx.wait_for_signal("decision", type=kind))

    run = await client.workflow.trigger(wf)
    await client.workflow.send_signal(run.run_id, "decision", {"approved": True})
    async with client.worker(wf):
        await client.workflow.wait(run.run_id, PATIENCE_S)
    assert got == [expected]


@cases("kind", [Decision, DecisionDict, DecisionStruct, DecisionModel])
async def test_a_payload_that_does_not_fit_is_told_with_its_field_and_consumed(client: AsyncClient, kind: Any):
    @workflow("signals-misfit")
    async def wf(ctx):
        with pytest.raises(ValidationError, match="approved"):
            await ctx.wait_for_signal("decision", type=kind)
        return await ctx.wait_for_signal("decision")

    run = await client.workflow.trigger(wf)
    await client.workflow.send_signal(run.run_id, "decision", {"approved": "perhaps"})
    await client.workflow.send_signal(run.run_id, "decision", "the next")
    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "the next"


# -- refusals


async def test_a_signal_to_a_run_that_is_over_is_a_conflict_and_stores_nothing(client: AsyncClient):
    # promise 8, trap 21
    @workflow("signals-over")
    async def wf(ctx):
        return None

    run = await executed(client, wf)
    before = await client.workflow.get_events(run.run_id)
    with pytest.raises(ConflictError, match="over"):
        await client.workflow.send_signal(run.run_id, "late")
    assert await client.workflow.get_events(run.run_id) == before


async def test_a_signal_to_nobody_is_not_found(client: AsyncClient):
    with pytest.raises(NotFoundError, match="nobody"):
        await client.workflow.send_signal("nobody", "hello")


@pytest.mark.parametrize("settings", [Settings(messages_max=3)], ids=["three messages"])
async def test_a_mailbox_has_a_bound(client: AsyncClient):
    @workflow("signals-full")
    async def wf(ctx):
        return [await ctx.wait_for_signal("n") for _ in range(4)]

    run = await client.workflow.trigger(wf)
    for number in range(3):
        await client.workflow.send_signal(run.run_id, "n", number)
    with pytest.raises(ConflictError, match="messages"):
        await client.workflow.send_signal(run.run_id, "n", 3)
    async with client.worker(wf):
        await seen(client, run.run_id, "signal_received", 3)
        await client.workflow.send_signal(run.run_id, "n", 3)
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [0, 1, 2, 3]


# -- signal_with_start


async def test_signal_with_start_makes_the_run_once_and_sends_every_signal(client: AsyncClient):
    @workflow("signals-cart")
    async def wf(ctx, input):
        return [input, *[await ctx.wait_for_signal("add") for _ in range(10)]]

    async with client.worker(wf):
        runs = await asyncio.gather(
            *(client.workflow.signal_with_start(wf, "cart", "add", number, run_id="cart-1") for number in range(10))
        )
        output = await client.workflow.result("cart-1", PATIENCE_S)
    assert {run.run_id for run in runs} == {"cart-1"}
    assert sum(run.created for run in runs) == 1
    assert output[0] == "cart"
    assert sorted(output[1:]) == list(range(10))
    assert (await types_of(client, "cart-1")).count("run_created") == 1


async def test_signal_with_start_to_a_run_that_is_over_or_has_other_input_is_a_conflict(client: AsyncClient):
    @workflow("signals-start-over")
    async def wf(ctx, input):
        return await ctx.wait_for_signal("add")

    async with client.worker(wf):
        await client.workflow.signal_with_start(wf, 1, "add", "item", run_id="cart-2")
        await client.workflow.wait("cart-2", PATIENCE_S)
        with pytest.raises(ConflictError, match="over"):
            await client.workflow.signal_with_start(wf, 1, "add", "item", run_id="cart-2")
    await client.workflow.signal_with_start(wf, 1, "go", None, run_id="cart-3")
    with pytest.raises(ConflictError, match="other input"):
        await client.workflow.signal_with_start(wf, 2, "go", None, run_id="cart-3")
    await client.workflow.cancel("cart-3")


async def test_a_signal_from_one_run_to_another_is_sent_once(client: AsyncClient):
    @workflow("signals-receiver")
    async def receiver(ctx):
        return [await ctx.wait_for_signal("n"), await ctx.wait_for_signal("end")]

    @workflow("signals-sender")
    async def sender(ctx, input):
        await client.workflow.send_signal(input, "n", "from a workflow")
        await ctx.wait_for_signal("go")
        await client.workflow.send_signal(input, "end", "the end")

    async with client.worker(receiver):
        to = await client.workflow.trigger(receiver)
        async with client.worker(sender):
            run = await client.workflow.trigger(sender, to.run_id)
            await seen(client, to.run_id, "signal_received")
        async with client.worker(sender):
            await client.workflow.send_signal(run.run_id, "go")
            assert await client.workflow.result(to.run_id, PATIENCE_S) == ["from a workflow", "the end"]
            await client.workflow.wait(run.run_id, PATIENCE_S)


async def test_a_step_between_signals_keeps_them(client: AsyncClient):
    @workflow("signals-steps")
    async def wf(ctx):
        got = []
        for _ in range(5):
            got.append(await ctx.wait_for_signal("n"))
            await step("work", asyncio.sleep)(0)
        return got

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        for number in range(5):
            await client.workflow.send_signal(run.run_id, "n", number)
        assert await client.workflow.result(run.run_id, PATIENCE_S) == list(range(5))
