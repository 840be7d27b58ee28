"""How workflows and steps are written down: every form, and every form that is refused."""

import asyncio
import contextvars
import functools
import threading
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    DuplicateWorkflowError,
    InvalidDurationError,
    NotFoundError,
    ValidationError,
    WorkflowWorker,
    register_workflow,
    step,
    workflow,
)
from tests.api.tools import cases, executed, ran, seen
from tests.clients import PATIENCE_S


async def double(number: int) -> int:
    return 2 * number


# -- workflows


async def test_both_forms_of_a_definition_run(client: AsyncClient):
    @workflow("authoring-decorated")
    async def decorated(ctx, input):
        return await step("double", double)(input[0])

    async def plain(ctx, input):
        return await step("double", double)(input[0])

    by_call = workflow("authoring-called", max_events=100, execution_timeout=60_000).run(plain)
    assert by_call.name == "authoring-called"
    assert by_call.fn is plain
    assert (await executed(client, decorated, [3])).output == 6
    run = await executed(client, by_call, [4])
    assert (run.output, run.max_events, run.execution_timeout) == (8, 100, 60_000)


async def test_without_options_a_run_has_50_000_events_and_no_execution_timeout(client: AsyncClient):
    @workflow("authoring-defaults")
    async def wf(ctx):
        return None

    run = await executed(client, wf)
    assert (run.max_events, run.execution_timeout) == (50_000, None)


@cases("given", [None, [], [1], [1, 2], {"a": {"b": None}}, "text", 0, 1.5, False])
async def test_the_input_is_what_was_given_as_is(client: AsyncClient, given: Any):
    @workflow("authoring-input")
    async def wf(ctx, input):
        return {"input": input, "type": type(input).__name__}

    assert (await executed(client, wf, given)).output == {"input": given, "type": type(given).__name__}


async def test_a_function_without_a_second_parameter_ignores_the_input(client: AsyncClient):
    @workflow("authoring-no-input")
    async def wf(ctx):
        return "ran"

    assert (await executed(client, wf, {"ignored": True})).output == "ran"


async def test_a_name_says_as_much_as_the_workflow_itself(client: AsyncClient):
    @workflow("authoring-by-name")
    async def wf(ctx, input):
        return input

    async with client.worker("authoring-by-name"):
        assert (await ran(client, "authoring-by-name", 1)).output == 1
        assert (await ran(client, wf, 2)).output == 2
    assert {run.run_id for run in await client.workflow.get_runs(wf)} == {
        run.run_id for run in await client.workflow.get_runs("authoring-by-name")
    }


async def test_the_context_knows_its_run(client: AsyncClient):
    @workflow("authoring-context")
    async def wf(ctx, input):
        return [ctx.run_id, ctx.parent_run_id, ctx.workflow_name, ctx.attempt, list(ctx.tags), ctx.started_at.isoformat()]

    run = await executed(client, wf, run_id="context-1", tags=["red", "blue"])
    assert run.output[:5] == ["context-1", None, "authoring-context", 1, ["red", "blue"]]
    assert run.started_at is not None
    assert run.output[5] == run.started_at.isoformat()


async def test_the_log_of_a_context_is_silent_while_the_past_is_replayed(client: AsyncClient, caplog: pytest.LogCaptureFixture):
    @workflow("authoring-log")
    async def wf(ctx, input):
        ctx.log.warning("at the start")
        await step("one", double)(1)
        await ctx.wait_for_signal("go")
        ctx.log.warning("after the signal")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_completed")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        await client.workflow.wait(run.run_id, PATIENCE_S)
    said = [record.message for record in caplog.records if record.name == "stepwell.workflow"]
    assert said == [f"{run.run_id}: at the start", f"{run.run_id}: after the signal"]


async def test_a_workflow_can_be_unit_tested_without_an_engine():
    @workflow("authoring-unit")
    async def wf(ctx, input):
        return await step("double", double)(input) + await step("inc", lambda number: number + 1)(1)

    assert await wf.fn(None, 20) == 42


async def test_versions_of_one_name_stand_side_by_side_and_runs_keep_theirs(client: AsyncClient):
    @workflow("authoring-versions", version="1")
    async def first(ctx):
        return "first"

    @workflow("authoring-versions", version="2")
    async def second(ctx):
        return "second"

    old = await client.workflow.trigger("authoring-versions", version="1")
    new = await client.workflow.trigger("authoring-versions")
    async with client.worker("authoring-versions"):
        assert await client.workflow.result(old.run_id, PATIENCE_S) == "first"
        assert await client.workflow.result(new.run_id, PATIENCE_S) == "second"
    assert (await client.workflow.get_run(old.run_id)).version == "1"
    assert (await client.workflow.get_run(new.run_id)).version == "2"


async def test_a_worker_takes_only_versions_that_it_knows(client: AsyncClient):
    @workflow("authoring-one-version", version="1")
    async def wf(ctx):
        return None

    unknown = await client.workflow.trigger("authoring-one-version", version="7")
    known = await executed(client, wf)
    assert known.status == "completed"
    waiting = (await client.workflow.get_run(unknown.run_id)).waiting_for
    assert waiting is not None
    assert waiting.kind == "worker"


def test_two_functions_under_one_name_are_refused_at_definition():
    @workflow("authoring-twice")
    async def one(ctx):
        return 1

    with pytest.raises(DuplicateWorkflowError, match=r"authoring-twice.*test_authoring.*one.*test_authoring.*two"):

        @workflow("authoring-twice")
        async def two(ctx):
            return 2

    assert register_workflow(one) is one, "again does no harm"


async def test_the_same_function_defined_again_replaces(client: AsyncClient):
    def define(output: int) -> Any:
        @workflow("authoring-again")
        async def cell(ctx):
            return output

        return cell

    define(1)
    define(2)
    async with client.worker("authoring-again"):
        assert (await ran(client, "authoring-again")).output == 2


@pytest.mark.parametrize(
    "fn",
    [
        lambda ctx: None,
        print,
        "text",
        None,
    ],
)
def test_a_workflow_needs_an_async_function(fn: Any):
    with pytest.raises(TypeError, match="async def"):
        workflow("authoring-not-async").run(fn)


def test_a_workflow_needs_a_function_of_ctx_or_ctx_and_input():
    async def none():
        return None

    async def three(ctx, input, more):
        return None

    async def keyword(ctx, *, input):
        return None

    for fn in (none, three):
        with pytest.raises(TypeError, match=r"\(ctx\) or \(ctx, input\)"):
            workflow("authoring-arity").run(fn)
    with pytest.raises(TypeError, match=r"\(ctx\) or \(ctx, input\)"):
        workflow("authoring-arity").run(keyword)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "nul\0", "\x7f", "\ud800", None, 7, b"bytes"])
def test_a_name_that_is_none_is_refused_and_the_field_named(name: Any):
    with pytest.raises(ValidationError, match="workflow name") as refused:
        workflow(name)
    assert refused.value.field == "workflow name"


@cases("name", ["x" * 200, "größe / ~ # @ % :", "<img src=x>", "sleep:1", "{{7*7}}", "\N{PILE OF POO}" * 200])
async def test_any_printable_name_works(client: AsyncClient, name: str):
    @workflow(name)
    async def wf(ctx):
        one = await step(name, double)(1)
        two = await step(name, double)(one)
        return [two, await ctx.wait_for_signal(name)]

    run = await client.workflow.trigger(name, tags=[name])
    await client.workflow.send_signal(run.run_id, name, "got it", signal_id=name)
    async with client.worker(name):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == [4, "got it"]
    shown = await client.workflow.get_run(run.run_id)
    assert (shown.workflow_name, shown.tags) == (name, [name])


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_events": 2}, "max_events"),
        ({"max_events": 0}, "max_events"),
        ({"max_events": -1}, "max_events"),
        ({"max_events": 10.5}, "max_events"),
        ({"max_events": True}, "max_events"),
        ({"max_events": "100"}, "max_events"),
        ({"execution_timeout": "soon"}, "execution_timeout"),
        ({"execution_timeout": -1}, "execution_timeout"),
        ({"execution_timeout": float("nan")}, "execution_timeout"),
        ({"version": ""}, "version"),
        ({"version": "x" * 201}, "version"),
        ({"retention": "1 day"}, "retention"),
    ],
)
def test_options_of_a_workflow_out_of_bounds_are_refused_and_the_field_named(options: Any, field: str):
    with pytest.raises(ValidationError) as refused:
        workflow("authoring-options", **options)
    assert refused.value.field == field


# -- steps


async def test_every_form_of_a_step_gives_its_result(client: AsyncClient):
    class Callable:
        async def __call__(self, number: int) -> int:
            return number + 1

    @step("decorated")
    async def decorated(number: int) -> int:
        return number + 1

    @step
    async def bare(number: int) -> int:
        return number + 1

    @step
    def blocking(number: int) -> int:
        return number + 1

    @workflow("authoring-step-forms")
    async def wf(ctx):
        return [
            await step("inline", double)(1),
            await step("given", double, input=2)(),
            await step("lambda", lambda: 3)(),
            await step("lambda-coroutine", lambda: double(2))(),
            await step("keywords", double)(number=3),
            await step(double)(4),
            await step("partial", functools.partial(double, 5))(),
            await step("object", Callable())(10),
            await decorated(11),
            await bare(12),
            await blocking(13),
            await decorated.options(name="renamed", retries=1)(14),
        ]

    run = await executed(client, wf)
    assert run.output == [2, 4, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15]
    names = [event.name for event in await client.workflow.get_events(run.run_id) if event.event_type == "step_completed"]
    assert names == [
        "inline", "given", "lambda", "lambda-coroutine", "keywords", "double", "partial", "object", "decorated", "bare",
        "blocking", "renamed",
    ]  # fmt: skip


async def test_methods_can_be_steps(client: AsyncClient):
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        @step("sell", retries=2)
        async def sell(self, item: str) -> str:
            return f"{self.name} sells {item}"

    @workflow("authoring-methods")
    async def wf(ctx):
        # The instance is no part of the step's identity: its address differs from one process to the next.
        sold = [await Shop("A").sell("apples"), await step("bound", Shop("B").sell.fn)("pears")]
        await ctx.wait_for_signal("go")
        return sold

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_completed", 2)
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == ["A sells apples", "B sells pears"]


colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


async def test_a_plain_function_runs_in_a_thread_with_the_context_of_the_caller(client: AsyncClient):
    def look() -> list[Any]:
        return [threading.get_ident(), colour.get()]

    @workflow("authoring-threads")
    async def wf(ctx):
        colour.set("green")
        return await step("look", look)()

    run = await executed(client, wf)
    assert run.output[0] != threading.get_ident()
    assert run.output[1] == "green"


async def test_a_plain_function_never_blocks_the_loop(client: AsyncClient):
    here, there = threading.Event(), threading.Event()

    def block() -> str:
        there.set()
        assert here.wait(30)
        return "unblocked"

    @workflow("authoring-blocking")
    async def wf(ctx):
        return await step("block", block)()

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await asyncio.to_thread(there.wait, PATIENCE_S)
        here.set()  # from this loop, which would not get here if it were blocked
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "unblocked"


async def test_outside_of_a_workflow_a_step_just_runs_its_function():
    calls: list[int] = []

    @step("outside", retries=5, timeout="1h", at_most_once=True)
    async def fail(number: int) -> int:
        calls.append(number)
        raise ValueError("its own error")

    with pytest.raises(ValueError, match="its own error"):
        await fail(1)
    assert calls == [1]
    assert await step("plain", lambda: 1)() == 1
    assert await step("given", double, input=4)() == 8


@pytest.mark.parametrize("name", ["", "x" * 201, "a\tb", None, 7])
def test_a_step_needs_a_name(name: Any):
    with pytest.raises(ValidationError, match="step name"):
        step(name, double)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"retries": "3"}, "retries"),
        ({"retries": True}, "retries"),
        ({"retry_delay": "1 s"}, "retry_delay"),
        ({"retry_delay": -5}, "retry_delay"),
        ({"retry_delay": None}, "retry_delay"),
        ({"backoff": 0.5}, "backoff"),
        ({"backoff": float("nan")}, "backoff"),
        ({"backoff": "2"}, "backoff"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": float("inf")}, "jitter"),
        ({"max_retry_delay": "1e3s"}, "max_retry_delay"),
        ({"timeout": "never"}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"key": ""}, "key"),
    ],
)
def test_options_of_a_step_out_of_bounds_are_refused_where_it_is_defined(options: Any, field: str):
    for define in (lambda: step("options", double, **options), lambda: step("options", **options)):
        with pytest.raises(ValidationError) as refused:
            define()
        assert refused.value.field == field


def test_an_unknown_option_is_refused_and_named():
    with pytest.raises(TypeError, match="retires"):
        step("unknown", double, retires=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="retires"):
        step("unknown", retires=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="retires"):
        step("unknown", double).options(retires=3)


@pytest.mark.parametrize("options", [{"retry_on": "ValueError"}, {"retry_on": [ValueError]}, {"on_error": 7}])
def test_an_option_of_the_wrong_kind_is_refused_where_it_is_defined(options: Any):
    with pytest.raises((TypeError, ValidationError), match=next(iter(options))):
        step("kinds", double, **options)


def test_a_step_needs_a_function():
    with pytest.raises(TypeError, match="function"):
        step("no-function", 7)  # type: ignore[call-overload]


def test_durations_that_cannot_be_read_show_the_forms_that_can():
    with pytest.raises(InvalidDurationError, match=r'"1h30m"'):
        step("duration", double, timeout="1 hour")


async def test_a_worker_for_an_unknown_name_is_refused_at_once_and_starts_nothing(client: AsyncClient):
    @workflow("authoring-known")
    async def wf(ctx):
        return None

    worker = WorkflowWorker(client)
    with pytest.raises(NotFoundError, match="authoring-nowhere"):
        await worker.start("authoring-known", "authoring-nowhere")
    run = await client.workflow.trigger(wf)
    assert "start one" in await client.workflow.why(run.run_id)
    await worker.stop()
