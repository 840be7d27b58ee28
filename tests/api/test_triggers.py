"""Triggers: ids, keys, tags, order, delay; and what equal input is."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    ConflictError,
    Context,
    NotFoundError,
    RunFailed,
    Settings,
    ValidationError,
    WorkflowWorker,
    step,
    workflow,
)
from tests.api.tools import cases, executed, ran, seen, types_of, waits_for
from tests.clients import PATIENCE_S


@workflow("triggers-echo")
async def echo(ctx: Context, input: Any) -> Any:
    return input


# -- the answer


async def test_a_trigger_answers_with_the_run(client: AsyncClient):
    # The time is the store's: a server's is known only to within a question to it.
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    run = await client.workflow.trigger("nobody-knows-it", {"a": 1}, tags=["x"], priority=3)
    assert (run.workflow_name, run.status, run.input, run.output, run.error) == (
        "nobody-knows-it",
        "pending",
        {"a": 1},
        None,
        None,
    )
    assert (run.tags, run.priority, run.parent_run_id, run.attempt, run.interruptions) == (["x"], 3, None, 1, 0)
    assert (run.event_count, run.created, run.is_over) == (1, True, False)
    assert before <= run.created_at <= dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=1)
    assert (run.started_at, run.completed_at) == (None, None)
    again = await client.workflow.get_run(run.run_id)
    assert (again.run_id, again.input, again.tags, again.created) == (run.run_id, {"a": 1}, ["x"], False)


async def test_a_workflow_that_no_worker_knows_stays_pending_and_says_so(client: AsyncClient):
    # promise 13
    run = await client.workflow.trigger("nobody-knows-it")
    shown = await client.workflow.get_run(run.run_id)
    assert shown.status == "pending"
    assert shown.waiting_for is not None
    assert (shown.waiting_for.kind, shown.waiting_for.name) == ("worker", "nobody-knows-it")
    assert "nobody-knows-it" in await client.workflow.why(run.run_id)

    @workflow("nobody-knows-it")
    async def wf(ctx):
        return "somebody does"

    async with client.worker(wf):
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "somebody does"


# -- trigger and result in one


async def test_execute_returns_the_output(client: AsyncClient):
    async with client.worker(echo):
        assert await client.workflow.execute(echo, {"a": 1}, run_id="e", tags=["x"], timeout=PATIENCE_S) == {"a": 1}
        assert await client.workflow.execute("triggers-echo", {"a": 1}, run_id="e") == {"a": 1}
        with pytest.raises(ConflictError):
            await client.workflow.execute(echo, {"a": 2}, run_id="e")
    assert (await client.workflow.get_run("e")).tags == ["x"]


async def test_execute_raises_what_result_raises(client: AsyncClient):
    @workflow("triggers-fails")
    async def fails(ctx: Context) -> None:
        raise ValueError("no")

    async with client.worker(fails):
        with pytest.raises(RunFailed) as failed:
            await client.workflow.execute(fails, timeout=PATIENCE_S)
    assert failed.value.run.error == "ValueError: no"


async def test_an_execute_that_waits_no_longer_leaves_the_run(client: AsyncClient):
    # promise 1
    with pytest.raises(TimeoutError, match=r"run 'e' is not over after 0\.1 s"):
        await client.workflow.execute(echo, 7, run_id="e", timeout=0.1)
    async with client.worker(echo):
        assert await client.workflow.result("e", PATIENCE_S) == 7


async def test_execute_in_a_workflow_is_recorded_and_a_durable_wait(client: AsyncClient):
    @workflow("triggers-executes")
    async def executes(ctx: Context) -> Any:
        return await client.workflow.execute(echo, [1])

    async with client.worker(echo, executes):
        run = await client.workflow.trigger(executes)
        assert await client.workflow.result(run, PATIENCE_S) == [1]
    assert "workflow.trigger" in [event.name for event in await client.workflow.get_events(run.run_id)]


async def test_execute_in_a_step_that_is_tried_again_makes_one_run(client: AsyncClient):
    tries = 0

    async def twice() -> Any:
        nonlocal tries
        tries += 1
        result = await client.workflow.execute(echo, [1])
        if tries == 1:
            raise ValueError
        return result

    @workflow("triggers-executes-in-a-step")
    async def executes(ctx: Context) -> Any:
        return await step("twice", twice, retries=1, retry_delay=0)()

    async with client.worker(echo, executes):
        assert await client.workflow.execute(executes, timeout=PATIENCE_S) == [1]
    assert len((await client.workflow.get_runs(echo)).items) == 1


# -- run ids


@cases("run_id", ["a", "A-Za-z0-9._:-", "x" * 200, "..", "0"])
async def test_a_run_id_of_ones_own_names_one_run(client: AsyncClient, run_id: str):
    first = await client.workflow.trigger(echo, [1, {"a": 1, "b": 2}], run_id=run_id)
    again = await client.workflow.trigger(echo, [1, {"b": 2, "a": 1}], run_id=run_id)
    assert (first.run_id, first.created, again.run_id, again.created) == (run_id, True, run_id, False)
    assert await types_of(client, run_id) == ["run_created"]


@cases("run_id", ["", "x" * 201, "a b", "a/b", "a\n", "ü", "a\0", "%41", "'; DROP TABLE runs; --", 7, True])
async def test_what_is_no_run_id_is_refused_everywhere(client: AsyncClient, run_id: Any):
    # promise 14
    for call in (
        client.workflow.trigger(echo, run_id=run_id),
        client.workflow.trigger(echo, parent_run_id=run_id),
        client.workflow.get_run(run_id),
        client.workflow.wait(run_id, 0),
        client.workflow.result(run_id, 0),
        client.workflow.get_events(run_id),
        client.workflow.send_signal(run_id, "n"),
        client.workflow.emit_event(run_id, "mine"),
        client.workflow.cancel(run_id),
        client.workflow.why(run_id),
        client.workflow.signal_with_start(echo, None, "n", None, run_id=run_id),
        anext(client.workflow.stream_events(run_id)),
    ):
        with pytest.raises(ValidationError, match="id"):
            await call
    assert (await client.workflow.stats()).runs["pending"] == 0


async def test_an_id_that_does_not_exist_is_not_found_everywhere(client: AsyncClient):
    for call in (
        client.workflow.get_run("nobody"),
        client.workflow.wait("nobody", 1),
        client.workflow.result("nobody", 1),
        client.workflow.get_events("nobody"),
        client.workflow.send_signal("nobody", "n"),
        client.workflow.emit_event("nobody", "mine"),
        client.workflow.cancel("nobody"),
        client.workflow.why("nobody"),
        client.workflow.resume("nobody"),
        client.workflow.trigger(echo, parent_run_id="nobody"),
        anext(client.workflow.stream_events("nobody")),
    ):
        with pytest.raises(NotFoundError, match="nobody"):
            await call
    assert (await client.workflow.stats()).runs["pending"] == 0


@pytest.mark.parametrize(
    ("workflow_name", "input"),
    [("triggers-echo", [2]), ("triggers-echo", None), ("triggers-echo", [1.0]), ("triggers-other", [1])],
)
async def test_an_id_that_is_taken_by_something_else_is_a_conflict(client: AsyncClient, workflow_name: str, input: Any):
    await client.workflow.trigger(echo, [1], run_id="taken")
    with pytest.raises(ConflictError, match="taken"):
        await client.workflow.trigger(workflow_name, input, run_id="taken")
    assert (await client.workflow.get_run("taken")).input == [1]


# -- idempotency keys


async def test_a_hundred_triggers_at_once_with_one_key_give_one_run(client: AsyncClient):
    # promise 11
    async with client.worker(echo):
        runs = await asyncio.gather(*(client.workflow.trigger(echo, {"n": 1}, idempotency_key="k") for _ in range(100)))
        assert await client.workflow.result(runs[0].run_id, PATIENCE_S) == {"n": 1}
    assert len({run.run_id for run in runs}) == 1
    assert sum(run.created for run in runs) == 1
    assert runs[0].idempotency_key == "k"
    assert (await types_of(client, runs[0].run_id)).count("run_created") == 1
    assert len(await client.workflow.get_runs(echo)) == 1


async def test_a_key_stays_taken_when_the_run_is_over(client: AsyncClient):
    # promise 11
    over = await executed(client, echo, 1, idempotency_key="k")
    again = await client.workflow.trigger(echo, 1, idempotency_key="k")
    assert (again.run_id, again.status, again.output, again.created) == (over.run_id, "completed", 1, False)


async def test_a_key_with_other_input_is_a_conflict_and_changes_nothing(client: AsyncClient):
    # promise 11, promise 14
    run = await client.workflow.trigger(echo, [1, 2], idempotency_key="k")
    for other in ([2, 1], [1], None, [1, 2.0], "1"):
        with pytest.raises(ConflictError, match="'k'"):
            await client.workflow.trigger(echo, other, idempotency_key="k")
    assert [found.run_id for found in await client.workflow.get_runs(echo)] == [run.run_id]


async def test_the_order_of_keys_in_input_does_not_matter_and_1_is_not_1_0(client: AsyncClient):
    # promise 11
    one = await client.workflow.trigger(echo, {"a": 1, "b": {"c": 1, "d": 2}}, idempotency_key="k")
    same = await client.workflow.trigger(echo, {"b": {"d": 2, "c": 1}, "a": 1}, idempotency_key="k")
    assert one.run_id == same.run_id
    with pytest.raises(ConflictError):
        await client.workflow.trigger(echo, {"a": 1.0, "b": {"c": 1, "d": 2}}, idempotency_key="k")


async def test_a_key_belongs_to_a_workflow(client: AsyncClient):
    # promise 11
    one = await client.workflow.trigger("triggers-one", idempotency_key="k")
    two = await client.workflow.trigger("triggers-two", idempotency_key="k")
    assert one.run_id != two.run_id


async def test_an_id_and_a_key_that_name_different_runs_are_a_conflict(client: AsyncClient):
    await client.workflow.trigger(echo, run_id="first")
    await client.workflow.trigger(echo, idempotency_key="k")
    with pytest.raises(ConflictError, match="different runs"):
        await client.workflow.trigger(echo, run_id="first", idempotency_key="k")


@cases("key", ["", "x" * 201, "a\n", 7])
async def test_what_is_no_key_is_refused(client: AsyncClient, key: Any):
    with pytest.raises(ValidationError, match="idempotency_key") as refused:
        await client.workflow.trigger(echo, idempotency_key=key)
    assert refused.value.field == "idempotency_key"


# -- priority and delay


async def order_of_starts(client: AsyncClient, runs: list[Any]) -> list[Any]:
    done = [await client.workflow.get_run(run.run_id) for run in runs]
    assert all(run.started_at is not None for run in done)
    return [run.input for run in sorted(done, key=lambda run: started.index(run.run_id))]


started: list[str] = []


@workflow("triggers-queue")
async def queue(ctx: Context, input: Any) -> Any:
    started.append(ctx.run_id)
    return input


async def test_runs_of_higher_priority_start_first_and_equal_ones_in_order(client: AsyncClient):
    started.clear()
    runs = [
        await client.workflow.trigger(queue, number, priority=priority) for number, priority in enumerate([0, 0, -1, 5, 0, 5])
    ]
    async with client.worker(queue, concurrency=1):
        for run in runs:
            await client.workflow.wait(run.run_id, PATIENCE_S)
    assert await order_of_starts(client, runs) == [3, 5, 0, 1, 4, 2]


@cases("priority", [1_000_001, -1_000_001, 0.5, "1", None, True])
async def test_a_priority_out_of_bounds_is_refused(client: AsyncClient, priority: Any):
    with pytest.raises(ValidationError, match="priority"):
        await client.workflow.trigger(echo, priority=priority)


@pytest.mark.parametrize("delay", ["80ms", 0.08, dt.timedelta(milliseconds=80)])
async def test_a_delayed_run_does_not_start_before_its_time_and_shows_what_it_waits_for(client: AsyncClient, delay: Any):
    # promise 7
    async with client.worker(echo):
        run = await client.workflow.trigger(echo, 1, delay=delay)
        assert run.status == "pending"
        over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert over.started_at is not None
    assert over.started_at - over.created_at >= dt.timedelta(milliseconds=80)
    assert over.output == 1


async def test_a_run_can_start_at_a_time(client: AsyncClient):
    when = dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=80)
    async with client.worker(echo):
        over = await ran(client, echo, 1, start_at=when)
        at_once = await ran(client, echo, 2, start_at=dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
    assert over.started_at is not None
    assert over.started_at >= when
    assert at_once.output == 2


async def test_a_run_that_is_not_due_is_pending_says_when_and_can_be_cancelled(client: AsyncClient):
    # promise 13
    async with client.worker(echo):
        run = await client.workflow.trigger(echo, 1, delay="1h")
        shown = await waits_for(client, run.run_id, "sleep")
        assert shown.status == "pending"
        assert shown.waiting_for is not None
        assert shown.waiting_for.until == run.created_at + dt.timedelta(hours=1)
        assert (await client.workflow.cancel(run.run_id)).status == "cancelled"
    assert await types_of(client, run.run_id) == ["run_created", "run_cancelled"]


async def test_a_signal_to_a_delayed_run_is_kept_and_does_not_start_it_early(client: AsyncClient):
    # promise 6, promise 7
    @workflow("triggers-delayed-signal")
    async def wf(ctx):
        return await ctx.wait_for_signal("go")

    async with client.worker(wf):
        run = await client.workflow.trigger(wf, delay="100ms")
        await client.workflow.send_signal(run.run_id, "go", "kept")
        over = await client.workflow.wait(run.run_id, PATIENCE_S)
    assert over.output == "kept"
    assert over.started_at is not None
    assert over.started_at - over.created_at >= dt.timedelta(milliseconds=100)


@cases(
    ("options", "field"),
    [
        ({"delay": "soon"}, "delay"),
        ({"delay": -1}, "delay"),
        ({"start_at": "tomorrow"}, "start_at"),
        ({"start_at": dt.datetime(2030, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)}, "start_at"),
        ({"delay": 1, "start_at": dt.datetime(2030, 1, 1, tzinfo=dt.UTC)}, "start_at"),
        ({"max_events": 2}, "max_events"),
        ({"max_events": 10**9}, "max_events"),
        ({"execution_timeout": "x"}, "execution_timeout"),
        ({"version": ""}, "version"),
        ({"tags": "red"}, "tags"),
        ({"tags": ["ok", ""]}, "tags/1"),
        ({"tags": ["x" * 201]}, "tags/0"),
        ({"tags": [1]}, "tags/0"),
        ({"tags": [f"t{number}" for number in range(51)]}, "tags"),
        ({"tags": 7}, "tags"),
    ],
)
async def test_options_out_of_bounds_are_refused_and_the_field_named(client: AsyncClient, options: Any, field: str):
    # promise 14
    with pytest.raises(ValidationError) as refused:
        await client.workflow.trigger(echo, **options)
    assert refused.value.field == field
    assert (await client.workflow.stats()).runs["pending"] == 0


@cases("name", ["", "x" * 201, "a\n", None, 7, echo.fn])
async def test_a_workflow_that_is_no_name_is_refused(client: AsyncClient, name: Any):
    with pytest.raises(ValidationError, match="workflow") as refused:
        await client.workflow.trigger(name)
    assert refused.value.field == "workflow"


async def test_tags_are_kept_in_order_and_once(client: AsyncClient):
    run = await client.workflow.trigger(echo, tags=["b", "a", "b", "ü / %"])
    assert run.tags == ["b", "a", "ü / %"]
    assert (await client.workflow.get_run(run.run_id)).tags == run.tags


# -- parents


async def test_a_run_can_be_given_a_parent(client: AsyncClient):
    parent = await client.workflow.trigger("triggers-parent")
    child = await client.workflow.trigger(echo, 1, parent_run_id=parent.run_id)
    assert child.parent_run_id == parent.run_id
    assert [run.run_id for run in await client.workflow.get_runs(parent_run_id=parent.run_id)] == [child.run_id]

    @workflow("triggers-knows-parent")
    async def wf(ctx):
        return ctx.parent_run_id

    assert (await executed(client, wf, parent_run_id=parent.run_id)).output == parent.run_id


async def test_a_parent_that_is_over_takes_no_children(client: AsyncClient):
    parent = await executed(client, echo)
    with pytest.raises(ConflictError, match="over"):
        await client.workflow.trigger(echo, parent_run_id=parent.run_id)


# -- at scale


@pytest.mark.parametrize("settings", [Settings(batch_operations_max=7)], ids=["small batches"])
async def test_hundreds_of_triggers_at_once_all_run(client: AsyncClient):
    async with WorkflowWorker(client, concurrency=20) as worker:
        await worker.start(echo)
        runs = await asyncio.gather(*(client.workflow.trigger(echo, number) for number in range(300)))
        outputs = [await client.workflow.result(run, PATIENCE_S) for run in runs]
    assert outputs == list(range(300))


async def test_a_trigger_in_the_middle_of_a_stream_of_others_is_seen(client: AsyncClient):
    async with client.worker(echo):
        run = await client.workflow.trigger(echo, "x")
        assert (await seen(client, run.run_id, "run_completed")).payload == {"output": "x"}
