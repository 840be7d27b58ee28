"""Values that cannot be recorded, and exceptions that misbehave: a clear error each, nothing lost, and never a stuck run."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    Context,
    NotSerializableError,
    PayloadTooLargeError,
    Settings,
    StepFailed,
    ValidationError,
    step,
    workflow,
)
from tests.api.tools import cases, events_of, executed, ran, types_of, waits_for
from tests.clients import PATIENCE_S

LIMIT = 1_000
SMALL = pytest.mark.parametrize("settings", [Settings(payload_bytes_max=LIMIT, waiting_shown_ms=1)], ids=["1000 bytes"])


@workflow("bad-echo")
async def echo(ctx: Context, input: Any) -> Any:
    return input


@workflow("bad-waits")
async def waits(ctx: Context) -> Any:
    return await ctx.wait_for_signal("go")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def exactly(size_bytes: int) -> str:
    """Return a text whose JSON is so many bytes long in UTF-8, and whose last character takes four of them."""
    return "x" * (size_bytes - 6) + "\N{PILE OF POO}"


UNSERIALISABLE: list[tuple[Any, str]] = [
    (object(), ""),
    ({"a": [1, {"b": object()}]}, "/a/1/b"),
    ([1, 2, lambda: None], "/2"),
    ({"a/b": {"~": len}}, "/a~1b/~0"),
    ((1, {"x": AsyncClient}), "/1/x"),
    ({"e": ValueError("no")}, "/e"),
    (1 + 2j, ""),
    ((number for number in range(3)), ""),
]

REFUSED: list[tuple[str, Any]] = [
    ("nan", {"a": [math.nan]}),
    ("infinity", [math.inf]),
    ("minus infinity", -math.inf),
    ("nul in a text", {"a": "b\0c"}),
    ("nul in a key", {"a\0": 1}),
    ("half a surrogate pair", ["\ud800"]),
    ("a deep value", nested(101)),
    ("an integer too long", 10**1000),
    ("two keys that JSON cannot tell apart", {1: "a", "1": "b"}),
]
refused = cases("value", [value for _, value in REFUSED])


def places(client: AsyncClient, run_id: str) -> list[Callable[[Any], Any]]:
    """Return every call of the client that takes a value."""
    return [
        lambda value: client.workflow.trigger(echo, value),
        lambda value: client.workflow.send_signal(run_id, "n", value),
        lambda value: client.workflow.emit_event(run_id, "mine", value),
        lambda value: client.workflow.signal_with_start(waits, None, "n", value, run_id="cart"),
        lambda value: client.workflow.signal_with_start(waits, value, "n", None, run_id="cart"),
    ]


async def nothing_changed(client: AsyncClient, run_id: str) -> bool:
    return len(await client.workflow.get_runs()) == 1 and await types_of(client, run_id) == ["run_created"]


# -- at the door


@cases(("value", "pointer"), UNSERIALISABLE)
async def test_what_has_no_json_form_is_refused_with_its_place_and_nothing_is_stored(
    client: AsyncClient, value: Any, pointer: str
):
    # promise 14
    run = await client.workflow.trigger("bad-nobody", run_id="bad")
    for call in places(client, run.run_id):
        with pytest.raises(NotSerializableError) as error:
            await call(value)
        assert error.value.pointer == pointer
        assert error.value.field.startswith(("input", "payload"))
        assert pointer in str(error.value)
    assert await nothing_changed(client, run.run_id)


@refused
async def test_values_that_json_or_a_store_would_spoil_are_refused(client: AsyncClient, value: Any):
    # promise 14, trap 37
    run = await client.workflow.trigger("bad-nobody", run_id="bad")
    for call in places(client, run.run_id):
        with pytest.raises(ValidationError, match=r"input|payload") as error:
            await call(value)
        assert error.value.field.startswith(("input", "payload"))
    assert await nothing_changed(client, run.run_id)


@SMALL
async def test_a_value_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(client: AsyncClient):
    # promise 14, trap 5
    run = await client.workflow.trigger("bad-nobody", run_id="bad")
    for call in places(client, run.run_id):
        with pytest.raises(PayloadTooLargeError) as error:
            await call(exactly(LIMIT + 1))
        assert (error.value.size_bytes, error.value.limit_bytes) == (LIMIT + 1, LIMIT)
    assert await nothing_changed(client, run.run_id)
    for call in places(client, run.run_id)[:4]:
        await call(exactly(LIMIT))
    async with client.worker(echo):
        assert (await ran(client, echo, exactly(LIMIT))).output == exactly(LIMIT)


async def test_the_limit_is_one_mebibyte_unless_set_otherwise(client: AsyncClient):
    value = exactly(1024 * 1024)
    assert (await executed(client, echo, value)).output == value
    with pytest.raises(PayloadTooLargeError):
        await client.workflow.trigger(echo, exactly(1024 * 1024 + 1))


async def test_a_value_as_deep_as_allowed_and_integers_of_a_thousand_digits_survive(client: AsyncClient):
    # trap 37
    for value in (nested(100), 10**999, -(10**999), 2**63, 2**64, -(2**63) - 1, 1.5e300, "\N{PILE OF POO}\u2028", {"": {"": []}}):
        assert (await executed(client, echo, value)).output == value


# -- in a step


@cases(("value", "pointer"), UNSERIALISABLE)
async def test_a_result_without_json_form_fails_the_step_names_the_place_and_says_that_its_effect_happened(
    client: AsyncClient, value: Any, pointer: str
):
    calls: list[int] = []

    async def body() -> Any:
        calls.append(1)
        return value

    @workflow("bad-result")
    async def wf(ctx):
        try:
            await step("body", body, retries=3, retry_delay=0)()
        except StepFailed as error:
            return [error.step, error.is_a(NotSerializableError), error.message]

    name, is_a, message = (await executed(client, wf)).output
    assert (name, is_a) == ("body", True)
    assert pointer in message
    assert "effect has happened" in message
    assert calls == [1], "its effect has happened: again would be twice"


@refused
async def test_a_result_that_would_be_spoilt_fails_the_step(client: AsyncClient, value: Any):
    @workflow("bad-spoilt")
    async def wf(ctx):
        await step("body", lambda: value)()

    run = await executed(client, wf)
    assert run.status == "failed"
    assert run.error is not None
    assert "ValidationError" in run.error
    assert "effect has happened" in run.error
    assert "body" in run.error


@SMALL
async def test_a_result_of_exactly_the_limit_is_recorded_and_one_byte_more_can_be_caught(client: AsyncClient):
    # trap 5
    @workflow("bad-size")
    async def wf(ctx):
        exact = await step("exact", lambda: exactly(LIMIT))()
        try:
            await step("more", lambda: exactly(LIMIT + 1))()
        except StepFailed as error:
            return [len(exact), error.is_a(PayloadTooLargeError), "effect has happened" in error.message]

    run = await executed(client, wf)
    assert run.output == [LIMIT - 5, True, True]
    (completed,) = await events_of(client, run.run_id, "step_completed")
    assert completed.payload["result"] == exactly(LIMIT)


@cases("value", [object(), math.nan, exactly(LIMIT + 1), nested(101), {"a": {1, len}}])
@SMALL
async def test_an_output_that_cannot_be_recorded_fails_the_run(client: AsyncClient, value: Any):
    @workflow("bad-output")
    async def wf(ctx):
        return value

    run = await executed(client, wf)
    assert run.status == "failed"
    assert run.error is not None
    assert "output" in run.error


async def test_arguments_need_no_json_form(client: AsyncClient):
    @workflow("bad-arguments")
    async def wf(ctx):
        taken = await step("take", lambda *args, **kwargs: [len(args), sorted(kwargs)])(
            object(), len, math.nan, "\0", x=nested(500)
        )
        await ctx.wait_for_signal("go")
        return taken

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, "signal")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [4, ["x"]]


async def test_bad_values_given_to_the_client_in_a_workflow_fail_that_call_only(client: AsyncClient):
    @workflow("bad-inner")
    async def wf(ctx):
        errors = []
        for call in (
            lambda: client.workflow.trigger(echo, object()),
            lambda: client.workflow.emit_event(ctx.run_id, "step_completed", 1),
            lambda: client.workflow.emit_event(ctx.run_id, "mine", math.nan),
            lambda: client.workflow.send_signal(ctx.run_id, "", 1),
            lambda: client.workflow.get_run("a b"),
        ):
            try:
                await call()
            except (StepFailed, ValidationError) as error:
                errors.append(type(error).__name__)
        return len(errors)

    assert (await executed(client, wf)).output == 5


# -- exceptions


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class Loud(Exception):
    def __str__(self) -> str:
        return "x" * 10_000_000


class Odd(Exception):
    __str__ = lambda self: 7  # noqa: E731 - no def may say this


class Base(BaseException):
    pass


Nameless = type("", (Exception,), {"__module__": None})


def deep() -> None:
    deep()


def raising(error: BaseException | Callable[[], BaseException]) -> Callable[[], Any]:
    def body() -> None:
        raise error() if callable(error) else error

    return body


MISBEHAVING: list[tuple[str, Callable[[], Any]]] = [
    ("str raises", raising(Silent())),
    ("ten megabytes", raising(Loud())),
    ("str is no text", raising(Odd())),
    ("base exception", raising(Base("base"))),
    ("no name", raising(Nameless("nameless"))),
    ("unserialisable arguments", raising(ValueError(object(), len))),
    ("nul and surrogate", raising(ValueError("a\0b\ud800"))),
    ("stop iteration", raising(StopIteration("stop"))),
    ("stop async iteration", raising(StopAsyncIteration("stop"))),
    ("cancelled by itself", raising(asyncio.CancelledError("mine"))),
    ("generator exit", raising(GeneratorExit("mine"))),
    ("a group", raising(lambda: BaseExceptionGroup("group", [ValueError("one"), Base("two")]))),
    ("recursion", deep),
    ("assertion", raising(AssertionError())),
]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
@cases("body", [body for _, body in MISBEHAVING])
async def test_whatever_a_step_raises_is_a_recorded_failure_of_bounded_size(
    client: AsyncClient, body: Callable[[], Any], is_async: bool
):
    # trap 4
    async def async_body() -> None:
        body()

    @workflow("bad-raises")
    async def wf(ctx):
        try:
            await step("raise", async_body if is_async else body)()
        except StepFailed as error:
            await ctx.wait_for_signal("go")
            return [error.step, error.attempts]

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await waits_for(client, run.run_id, "signal")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert over.status == "completed", over.error
    assert over.output == ["raise", 1]
    (failed,) = await events_of(client, run.run_id, "step_failed")
    assert len(str(failed.payload)) < 100_000


@cases("body", [body for _, body in MISBEHAVING])
async def test_whatever_a_workflow_raises_fails_its_run(client: AsyncClient, body: Callable[[], Any]):
    # trap 4
    @workflow("bad-workflow-raises")
    async def wf(ctx):
        body()

    run = await executed(client, wf)
    assert run.status == "failed"
    assert run.error is not None
    assert len(run.error) < 10_000
    assert run.error_details is not None


async def test_a_step_that_fails_in_many_ways_at_once_leaves_its_neighbours_alone(client: AsyncClient):
    @workflow("bad-neighbours")
    async def wf(ctx):
        async def branch(body: Callable[[], Any]) -> str:
            try:
                await step("raise", body)()
            except StepFailed as error:
                return error.type
            return "none"

        return await ctx.map(branch, [body for _, body in MISBEHAVING] + [lambda: None])

    run = await executed(client, wf)
    assert run.status == "completed", run.error
    assert len(run.output) == len(MISBEHAVING) + 1
    assert run.output[-1] == "none"
    assert "none" not in run.output[:-1]
