"""The part of the corpus whose runs are steered from outside, and the specification's examples that call the client in a body."""

import contextlib
from typing import Any

from stepwell import AsyncClient, ConflictError, Context, step, wait_for_approval, workflow
from tests.crash import world as here
from tests.crash.shapes import RUN, SHAPES, child, effect, has, send, shape, until
from tests.crash.shapes import waits as waits_for_something

__all__ = ["SHAPES"]

# -- the specification's examples


@shape(*(["first", 7, "last", polls] for polls in range(500)))
async def polled_child(ctx: Context) -> list[Any]:
    """The specification's parent and child: triggered from the body, and asked for its status in a loop."""
    first = await step("first", effect)()
    flows = here.world.client.workflow
    started = await flows.trigger(child, 7, run_id="child-of-the-run", parent_run_id=ctx.run_id)
    polls = 0
    while (run := await flows.get_run(started.run_id)).status != "completed":
        polls += 1
        await ctx.sleep("2ms")
    return [first, run.output, await step("last", effect)(first), polls]


async def _approves(client: AsyncClient) -> None:
    await until(client, has("hook_created"))
    for hook in await client.workflow.get_hooks(RUN):
        with contextlib.suppress(ConflictError):  # answered in another life, or the run is over
            await client.workflow.execute_hook(hook.token, {"approved": True})


@shape([True, "publish"], drive=_approves)
async def approved_document(ctx: Context) -> list[Any]:
    """The specification's hook: made by the client in the body, waited for by its token."""
    hook = await here.world.client.workflow.create_hook(ctx.run_id, "document", "approve", {"documentId": 1})
    approval = await wait_for_approval(hook.token)
    return [approval["approved"], await step("publish", effect)()]


@shape(["process", 2])
async def tracked_events(ctx: Context) -> list[Any]:
    """The specification's events: emitted by the client in the body, before and after a step."""
    flows = here.world.client.workflow
    await flows.emit_event(ctx.run_id, "noted", {"step": "begins"})
    done = await step("process", effect)()
    await flows.emit_event(ctx.run_id, "noted", {"step": "ends"})
    return [done, sum(event.event_type == "noted" for event in await flows.get_events(ctx.run_id))]


# -- retry


async def _retries(client: AsyncClient) -> None:
    await until(client, lambda run, events: False)  # over
    run = await client.workflow.get_run(RUN)
    if run.status == "failed" and run.attempt == 1:
        with contextlib.suppress(ConflictError):
            await client.workflow.retry(RUN)
        await until(client, lambda run, events: False)


async def _flaky(attempt: int, *rests_on: object) -> str:
    name = here.world.effect(*rests_on)
    if attempt == 1:
        raise ValueError(f"{name} fails")
    return name


@shape(["first", "flaky", "last"], drive=_retries)
async def retried_run(ctx: Context) -> list[str]:
    """Fails, and is retried: what had succeeded stays, what its failure came from is done again."""
    first = await step("first", effect)()
    flaky = await step("flaky", lambda first: _flaky(ctx.attempt, first))(first)
    return [first, flaky, await step("last", effect)(flaky)]


@workflow("flaky-child-of-a-shape")
async def flaky_child(ctx: Context) -> int:
    """Fails at its first attempt."""
    if ctx.attempt == 1:
        raise ValueError("the child fails")
    return 7


@shape(["first", 7, "last"], drive=_retries)
async def retried_parent(ctx: Context) -> list[Any]:
    """Fails with its child, and is retried along with it."""
    first = await step("first", effect)()
    seven = await ctx.run_child(flaky_child)
    return [first, seven, await step("last", effect)(first)]


# -- pause, repair


async def _pauses_at_once(client: AsyncClient) -> None:
    run = await client.workflow.get_run(RUN)
    history = [event.event_type for event in await client.workflow.get_events(RUN)]
    if "run_paused" not in history and not run.is_over:
        with contextlib.suppress(ConflictError):
            await client.workflow.pause(RUN)
    await until(client, lambda run, events: run.status == "paused" or has("run_resumed")(run, events))
    if (await client.workflow.get_run(RUN)).status == "paused":
        with contextlib.suppress(ConflictError):
            await client.workflow.resume(RUN)


@shape(["a", "b", "c", "d"], drive=_pauses_at_once)
async def paused_while_it_runs(ctx: Context) -> list[str]:
    """Paused wherever it happens to be, and resumed."""
    done: list[str] = []
    for name in "abcd":
        done.append(await step(name, effect)(*done))
    return done


async def _repairs(client: AsyncClient) -> None:
    await until(client, waits_for_something)
    history = await client.workflow.get_events(RUN)
    if not any(event.event_type == "run_paused" for event in history):
        await client.workflow.pause(RUN)
        await until(client, lambda run, events: run.status == "paused")
    if (await client.workflow.get_run(RUN)).status == "paused":
        with contextlib.suppress(ConflictError):  # it was set in another life
            await client.workflow.set_step_result(RUN, "second", "by hand", "the supplier said so")
        await client.workflow.resume(RUN)
    await send(client, "go", None, "go")


@shape(["first", "by hand", "third"], drive=_repairs)
async def repaired_by_hand(ctx: Context) -> list[str]:
    """Paused, given the result of a step that has not run, and resumed."""
    first = await step("first", effect)()
    await ctx.wait_for_signal("go")
    second = await step("second", effect)(first)
    return [first, second, await step("third", effect)(first)]
