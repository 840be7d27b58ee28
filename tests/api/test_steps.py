"""Steps: recorded once, the same for ever after, and failing in one way only."""

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic
import pytest

from stepwell import AsyncClient, StepFailed, StepInterrupted, WorkflowWorker, current_step, step, workflow
from tests.api.tools import cases, events_of, executed, ran, seen, types_of, until
from tests.clients import PATIENCE_S


class Calls:
    """Counts how often a body began."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> int:
        self.count += 1
        return self.count


async def executed_twice(client: AsyncClient, wf: Any, steps: int) -> Any:
    """Execute a run that waits for "go" behind its steps, replay it in another worker, and return its result."""
    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_completed", steps)
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        return await client.workflow.result(run.run_id, PATIENCE_S)


@cases("value", [None, False, 0, 0.0, "", [], {}])
async def test_a_result_that_is_false_is_recorded_like_any_other(client: AsyncClient, value: Any):
    # trap 3, promise 2
    calls = Calls()

    async def body() -> Any:
        await calls()
        return value

    @workflow("steps-falsy")
    async def wf(ctx):
        result = await step("falsy", body)()
        await ctx.wait_for_signal("go")
        return result

    assert await executed_twice(client, wf, 1) == value
    assert calls.count == 1


async def test_a_recorded_step_never_runs_again_however_often_the_run_is_replayed(client: AsyncClient):
    # promise 2
    calls = Calls()

    @workflow("steps-once")
    async def wf(ctx):
        got = []
        for _ in range(5):
            got.append(await step("count", calls)())
            got.append(await ctx.wait_for_signal("go"))
        return got

    run = await client.workflow.trigger(wf)
    for number in range(1, 6):
        async with client.worker(wf):
            await seen(client, run.run_id, "step_completed", number)
        await client.workflow.send_signal(run.run_id, "go", f"signal {number}")
    async with client.worker(wf):
        got = await client.workflow.result(run.run_id, PATIENCE_S)
    assert got == [what for number in range(1, 6) for what in (number, f"signal {number}")]
    assert calls.count == 5


async def test_the_body_of_a_step_sees_everything_before_it_committed(client: AsyncClient):
    # promise 3
    async def look(run_id: str) -> list[str | None]:
        return [event.step_id for event in await client.workflow.get_events(run_id) if event.event_type == "step_completed"]

    @workflow("steps-rest-on-records")
    async def wf(ctx):
        return [await step("look", look)(ctx.run_id) for _ in range(4)]

    assert (await executed(client, wf)).output == [[], ["look"], ["look", "look#1"], ["look", "look#1", "look#2"]]


async def test_completing_a_step_is_told_with_its_result_attempt_start_and_duration(client: AsyncClient):
    @workflow("steps-events")
    async def wf(ctx):
        await step("first", Calls())()
        return "done"

    run = await executed(client, wf)
    assert await types_of(client, run.run_id) == ["run_created", "run_started", "step_completed", "run_completed"]
    events = await client.workflow.get_events(run.run_id)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert run.event_count == 4
    payload = events[2].payload
    assert (events[2].step_id, events[2].name) == ("first", "first")
    assert (payload["result"], payload["attempt"]) == (1, 1)
    assert dt.datetime.fromisoformat(payload["startedAt"]).tzinfo is not None
    assert payload["durationMs"] >= 0
    assert events[3].payload == {"output": "done"}


# -- identity


async def test_a_name_that_repeats_counts_up(client: AsyncClient):
    @workflow("steps-names")
    async def wf(ctx):
        for number in range(3):
            await step("x", lambda number=number: number)()
            await step("y", lambda: None)()

    run = await executed(client, wf)
    ids = [event.step_id for event in await events_of(client, run.run_id, "step_completed")]
    assert ids == ["x", "y", "x#1", "y#1", "x#2", "y#2"]


async def test_a_key_pins_a_step_to_a_business_id_whatever_the_order(client: AsyncClient):
    calls: list[str] = []
    orders = ["a", "b", "c"]

    async def charge(order: str) -> str:
        calls.append(order)
        return f"charged {order}"

    @workflow("steps-keys")
    async def wf(ctx):
        charged = [await step("charge", charge, key=order)(order) for order in orders]
        await ctx.wait_for_signal("go")
        return charged

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_completed", 3)
    orders.reverse()
    orders.append("d")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [f"charged {order}" for order in "cbad"]
    assert calls == ["a", "b", "c", "d"]


async def test_keys_that_look_like_identities_do_not_collide(client: AsyncClient):
    keys = ["a", "a", "a#1", "a%231", "b/sleep:0", "c/compensate:c@d", "~0/a", "anna@example.org"]

    @workflow("steps-key-collisions")
    async def wf(ctx):
        results = [await step("x", lambda number=number: number, key=key)() for number, key in enumerate(keys)]
        await ctx.wait_for_signal("go")
        return results

    assert await executed_twice(client, wf, len(keys)) == [*range(len(keys))]
    run = (await client.workflow.get_runs(wf)).items[0]
    events = await events_of(client, run.run_id, "step_completed")
    assert {event.name for event in events} == {"x"}


async def test_names_that_look_like_identities_do_not_collide(client: AsyncClient):
    names = ["x", "x", "x#1", "x%231", "a/b", "~0/x", "sleep:0", "signal:go", "c@k"]

    @workflow("steps-collisions")
    async def wf(ctx):
        results = [await step(name, lambda number=number: number)() for number, name in enumerate(names)]
        results.append(await step("c", lambda: "keyed", key="k")())
        await ctx.wait_for_signal("go")
        return results

    assert await executed_twice(client, wf, len(names) + 1) == [*range(len(names)), "keyed"]


async def test_a_step_called_in_a_step_is_a_plain_call(client: AsyncClient):
    inner = step("inner", Calls())

    async def outer() -> int:
        return await inner() + await inner()

    @workflow("steps-nested")
    async def wf(ctx):
        return await step("outer", outer)()

    run = await executed(client, wf)
    assert run.output == 3
    assert [event.step_id for event in await events_of(client, run.run_id, "step_completed")] == ["outer"]


async def test_current_step_gives_the_same_idempotency_key_to_every_attempt(client: AsyncClient):
    told: list[tuple[str, str, int, str]] = []

    async def body() -> None:
        here = current_step()
        told.append((here.run_id, here.step_id, here.attempt, here.idempotency_key))
        if here.attempt < 3:
            raise ValueError("again")

    def blocking() -> str:
        return current_step().step_id

    @workflow("steps-current")
    async def wf(ctx):
        await step("pay", body, retries=2, retry_delay=0)()
        return [await step("pay", body, retries=2, retry_delay=0)(), await step("thread", blocking)()]

    run = await executed(client, wf)
    assert run.output == [None, "thread"]
    assert [(run_id, step_id, attempt) for run_id, step_id, attempt, _ in told] == [
        (run.run_id, step_id, attempt) for step_id in ("pay", "pay#1") for attempt in (1, 2, 3)
    ]
    keys = [key for *_, key in told]
    assert keys[:3] == [keys[0]] * 3
    assert keys[3:] == [keys[3]] * 3
    assert keys[0] != keys[3]
    with pytest.raises(LookupError):
        current_step()


async def test_in_the_workflows_own_code_there_is_no_current_step(client: AsyncClient):
    @workflow("steps-no-current")
    async def wf(ctx):
        with pytest.raises(LookupError):
            current_step()
        return "right"

    assert (await executed(client, wf)).output == "right"


# -- results, live and replayed


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Inner:
    when: dt.datetime


@dataclasses.dataclass
class Outer:
    inner: Inner
    amounts: list[decimal.Decimal]


class Struct(msgspec.Struct):
    ids: set[uuid.UUID]


class Model(pydantic.BaseModel):
    name: str
    left: dt.timedelta


AWARE = dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.UTC)
SOME_ID = uuid.UUID(int=7)


def a_set() -> set[int]:
    return {1, 2, 3}


def a_decimal() -> decimal.Decimal:
    return decimal.Decimal("1.10")


def an_aware_datetime() -> dt.datetime:
    return AWARE


def a_naive_datetime() -> dt.datetime:
    return AWARE.replace(tzinfo=None)


def a_date() -> dt.date:
    return AWARE.date()


def a_time() -> dt.time:
    return AWARE.time()


def a_timedelta() -> dt.timedelta:
    return dt.timedelta(days=1, microseconds=5)


def some_bytes() -> bytes:
    return b"\x00\xff"


def a_tuple() -> tuple[int, str]:
    return (1, "a")


def an_id() -> uuid.UUID:
    return SOME_ID


def an_enum() -> Colour:
    return Colour.RED


def a_dataclass() -> Outer:
    return Outer(Inner(AWARE), [decimal.Decimal("0.1")])


def a_struct() -> Struct:
    return Struct({SOME_ID})


def a_model() -> Model:
    return Model(name="m", left=dt.timedelta(seconds=3))


def a_list_of_models() -> list[Model]:
    return [a_model()]


def a_big_integer() -> int:
    return 10**999 + 1


def a_union() -> Outer | None:
    return a_dataclass()


TYPED = [
    a_set, a_decimal, an_aware_datetime, a_naive_datetime, a_date, a_time, a_timedelta, some_bytes, a_tuple, an_id, an_enum,
    a_dataclass, a_struct, a_model, a_list_of_models, a_big_integer, a_union,
]  # fmt: skip


@cases("make", TYPED)
async def test_an_annotated_result_comes_back_as_its_type_live_and_replayed(client: AsyncClient, make: Callable[[], Any]):
    # trap 6, promise 5
    got: list[Any] = []

    @workflow("steps-typed")
    async def wf(ctx):
        got.append(await step("make", make)())
        await ctx.wait_for_signal("go")

    await executed_twice(client, wf, 1)
    assert got == [make(), make()]
    assert [type(value) for value in got] == [type(make())] * 2


async def test_a_result_without_annotation_is_what_json_makes_of_it_live_and_replayed(client: AsyncClient):
    # trap 6
    made = {
        "tuple": (1, 2), "date": AWARE, "outer": Outer(Inner(AWARE), [decimal.Decimal("0.1")]), "bytes": b"\x00\xff",
        "enum": Colour.RED, "id": SOME_ID, "model": Model(name="m", left=dt.timedelta(seconds=3)), 1: "number",
    }  # fmt: skip
    got: list[Any] = []

    @workflow("steps-untyped")
    async def wf(ctx):
        got.append(await step("make", lambda: made)())
        await ctx.wait_for_signal("go")

    await executed_twice(client, wf, 1)
    live, replayed = got
    assert live == replayed
    assert live["tuple"] == [1, 2]
    assert live["outer"] == {"inner": {"when": "2026-03-01T12:30:15.123456Z"}, "amounts": ["0.1"]}
    assert live["1"] == "number"


async def test_an_annotation_that_is_wrong_does_no_harm(client: AsyncClient):
    got: list[Any] = []

    def lies() -> int:
        return "text"  # type: ignore[return-value]

    @workflow("steps-lies")
    async def wf(ctx):
        got.append(await step("lies", lies)())
        await ctx.wait_for_signal("go")

    await executed_twice(client, wf, 1)
    assert got == ["text", "text"]


async def test_what_the_workflow_does_to_a_result_does_not_change_the_record(client: AsyncClient):
    shared: list[int] = [1]
    got: list[Any] = []

    @workflow("steps-mutation")
    async def wf(ctx):
        result = await step("make", lambda: shared)()
        got.append(list(result))
        result.append(2)
        await ctx.wait_for_signal("go")

    await executed_twice(client, wf, 1)
    assert got == [[1], [1]]
    assert shared == [1]


# -- failures


class ShopError(Exception):
    pass


class SoldOut(ShopError):
    pass


async def test_a_failed_step_reaches_the_workflow_as_step_failed_live_and_replayed_alike(client: AsyncClient):
    # promise 5
    got: list[StepFailed] = []

    async def fail() -> None:
        raise SoldOut("no apples left")

    @workflow("steps-failed")
    async def wf(ctx):
        try:
            await step("buy", fail, retries=1, retry_delay=0)()
        except StepFailed as error:
            got.append(error)
        await step("go on", lambda: None)()
        await ctx.wait_for_signal("go")
        return "went on"

    assert await executed_twice(client, wf, 1) == "went on"
    for error in got:
        assert (error.step, error.message, error.attempts) == ("buy", "no apples left", 2)
        assert error.type.endswith("SoldOut")
        assert error.is_a(SoldOut)
        assert error.is_a(ShopError)
        assert error.is_a(Exception)
        assert not error.is_a(ValueError)
        assert error.code == "step_failed"
        assert error.__cause__ is None
        assert error.__context__ is None
    live, replayed = got
    assert (str(live), vars(live)) == (str(replayed), vars(replayed))


async def test_a_failure_that_nobody_catches_fails_the_run_and_names_the_step(client: AsyncClient):
    async def fail() -> None:
        raise ValueError("bad apple")

    @workflow("steps-uncaught")
    async def wf(ctx):
        await step("taste", fail, retries=2, retry_delay=0)()

    run = await executed(client, wf)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.startswith("ValueError: bad apple")
    assert "taste" in run.error
    details = run.error_details
    assert details is not None
    assert (details.type, details.message, details.step, details.attempts) == ("ValueError", "bad apple", "taste", 3)
    assert details.traceback is not None
    assert "raise ValueError" in details.traceback
    assert await types_of(client, run.run_id) == [
        "run_created", "run_started", "step_retrying", "step_retrying", "step_failed", "run_failed",
    ]  # fmt: skip


async def test_an_error_of_the_workflows_own_fails_the_run_with_its_own_name(client: AsyncClient):
    @workflow("steps-own-error")
    async def wf(ctx):
        raise SoldOut("nothing to sell")

    run = await executed(client, wf)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.endswith("SoldOut: nothing to sell")
    assert run.error_details is not None
    assert run.error_details.step is None
    assert run.completed_at is not None


async def test_an_error_raised_from_a_failed_step_is_the_runs_error(client: AsyncClient):
    async def fail() -> None:
        raise ValueError("inner")

    @workflow("steps-raise-from")
    async def wf(ctx):
        try:
            await step("fail", fail)()
        except StepFailed as error:
            raise ShopError("the shop is closed") from error

    run = await executed(client, wf)
    assert run.error is not None
    assert run.error.endswith("ShopError: the shop is closed")


# -- at most once


async def test_a_step_of_at_most_once_is_not_run_again_when_its_process_was_lost(client: AsyncClient):
    calls = Calls()
    got: list[StepInterrupted] = []

    async def pay() -> None:
        await calls()
        await asyncio.Event().wait()

    @workflow("steps-at-most-once")
    async def wf(ctx):
        try:
            await step("pay", pay, at_most_once=True)()
        except StepInterrupted as error:
            got.append(error)
        await step("after", lambda: None)()
        await ctx.wait_for_signal("go")
        return "nobody knows"

    worker = WorkflowWorker(client)
    await worker.start(wf)
    run = await client.workflow.trigger(wf)
    await until(lambda: _is(calls.count == 1))
    await worker.stop(drain=False)
    async with client.worker(wf):
        await seen(client, run.run_id, "step_completed")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "nobody knows"
    assert calls.count == 1
    assert len(await events_of(client, run.run_id, "step_interrupted")) == 1
    live, replayed = got
    assert isinstance(live, StepFailed)
    assert (live.step, str(live)) == ("pay", str(replayed))


async def _is(truth: bool) -> bool:
    return truth


async def test_a_step_of_at_most_once_whose_start_is_recorded_runs_also_if_the_run_is_paused_by_then(client: AsyncClient):
    async def pause() -> None:
        # The commit that records this step's end records the start of the next, too, and learns of the pause.
        await client.workflow.pause(current_step().run_id)

    @workflow("steps-at-most-once-paused")
    async def wf(ctx):
        await step("pause", pause)()
        paid = await step("pay", lambda: "paid", at_most_once=True)()
        await ctx.wait_for_signal("go")
        return paid

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "run_paused")
        await client.workflow.resume(run.run_id)
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "paid"


async def test_a_step_of_at_most_once_is_retried_after_a_recorded_failure(client: AsyncClient):
    async def pay() -> int:
        if current_step().attempt < 3:
            raise ValueError("refused, certainly")
        return current_step().attempt

    @workflow("steps-at-most-once-retried")
    async def wf(ctx):
        paid = await step("pay", pay, at_most_once=True, retries=5, retry_delay="20ms")()
        await ctx.wait_for_signal("go")
        return paid

    assert await executed_twice(client, wf, 1) == 3


async def test_a_run_of_many_steps_completes(client: AsyncClient):
    @workflow("steps-many")
    async def wf(ctx):
        return sum([await step("one", lambda: 1)() for _ in range(300)])

    async with client.worker(wf):
        run = await ran(client, wf)
    assert (run.output, run.event_count) == (300, 303)
