"""The part of the corpus whose runs are undone: their completed steps have compensations."""

import contextlib
from typing import Any

from stepwell import AsyncClient, ConflictError, Context, step, workflow
from tests.crash import world as here
from tests.crash.shapes import RUN, SHAPES, effect, effect_in_thread, endless, failing, has, has_recorded, shape, unsure, until
from tests.crash.shapes import waits as waits_for_something

__all__ = ["SHAPES"]


async def _two(ctx: Context) -> list[str]:
    first = await step("a", effect, compensate=effect)()
    return [first, await step("b", effect_in_thread, compensate=effect_in_thread)(first)]


@shape("LookupError: too late", status="failed")
async def undone_after_a_failure(ctx: Context) -> None:
    """Two steps with compensations, one without, one that fails."""
    done = await _two(ctx)
    await step("c", effect)(*done)
    raise LookupError("too late")


@shape("ValueError: bad fails", status="failed")
async def undone_after_a_failed_step(ctx: Context) -> None:
    """The step that fails was not completed, and one that the workflow has done without is not either."""
    done = await _two(ctx)
    await step("bad", failing, compensate=effect, retries=1, retry_delay=1)(*done)


async def _cancels(client: AsyncClient) -> None:
    await until(client, waits_for_something)
    await client.workflow.cancel(RUN, reason="enough")
    await client.workflow.cancel(RUN, reason="once more")


@shape("enough", drive=_cancels, status="cancelled")
async def undone_while_it_waits(ctx: Context) -> None:
    """Cancelled while it waits."""
    await _two(ctx)
    await ctx.wait_for_signal("never")


async def _cancels_a_body(client: AsyncClient) -> None:
    await until(client, has_recorded("b"))
    await client.workflow.cancel(RUN, reason="enough")


@shape("enough", drive=_cancels_a_body, status="cancelled")
async def undone_in_a_body(ctx: Context) -> None:
    """Cancelled in the middle of a body."""
    await step("c", endless, compensate=effect)(*await _two(ctx))


async def _hurries(client: AsyncClient) -> None:
    await until(client, waits_for_something)
    with contextlib.suppress(ConflictError):  # it is late already, or over
        await client.workflow.update_run(RUN, execution_timeout=1)


@shape(
    "ExecutionTimeoutError: execution timeout of 1 ms is over", drive=_hurries, status="failed", execution_timeout="1h"
)  # fmt: skip
async def undone_after_its_deadline(ctx: Context) -> None:
    """A deadline that passes while it waits, whoever executes it."""
    await _two(ctx)
    await ctx.wait_for_signal("never")


@shape("MaxEventsError: the run's history has reached its limit of 5 events (max_events)", status="failed", max_events=5)
async def undone_after_too_many_events(ctx: Context) -> None:
    """What compensations record does not count."""
    await step("c", effect, compensate=effect)(*await _two(ctx))


@shape("ValueError: parallel#0/1/bad fails", status="failed")
async def undone_branches(ctx: Context) -> None:
    """In the recorded order of completion, whatever the branch, equal names included."""

    async def branch(number: int) -> None:
        first = await step("a", effect, compensate=effect)()
        if number == 1:
            await step("bad", failing)(first)
        await step("a", effect, compensate=effect)(first)

    await ctx.parallel([lambda n=n: branch(n) for n in range(3)])


@shape("LookupError: too late", status="failed")
async def undone_with_difficulty(ctx: Context) -> None:
    """Compensations that fail twice, and for good: they are retried, recorded, and the next goes on."""
    a = await step("a", effect, compensate=effect)()
    b = await step("b", effect, compensate=failing, retries=2, retry_delay=1)(a)
    c = await step("c", effect, compensate=unsure, retries=2, retry_delay=1)(b)
    await step("d", effect, compensate=step("undo", unsure, retries=5, retry_delay=2))(c)
    raise LookupError("too late")


@shape("LookupError: too late", status="failed")
async def undone_losers_of_a_race(ctx: Context) -> None:
    """What the loser of a race has completed is undone as well."""

    async def slow() -> str:
        lost = await step("lost", effect, compensate=effect)()
        return await step("endless", endless)(lost)

    async def quick() -> str:
        first = await step("won", effect, compensate=effect)()
        return await step("won", effect, compensate=effect)(first)

    await ctx.race({"slow": slow, "quick": quick})
    raise LookupError("too late")


async def _cancels_a_tree(client: AsyncClient) -> None:
    await until(client, has("child_started"))
    await until(client, has("step_completed"), "undone-child")
    await client.workflow.cancel(RUN, reason="enough")
    await client.workflow.wait(RUN)
    begun = [start.step_id for start in here.world.starts]
    assert begun.index("compensate:in-the-child") < begun.index("compensate:b")


@workflow("undone-child-of-a-shape")
async def child(ctx: Context, input: Any) -> None:
    """Waits until it is cancelled."""
    await step("in-the-child", effect, compensate=_undo_in_the_child)()
    await ctx.wait_for_signal("never")


async def _undo_in_the_child(result: str) -> None:
    here.world.effect()


@shape("enough", drive=_cancels_a_tree, status="cancelled")
async def undone_with_its_child(ctx: Context) -> None:
    """Children that it waits for are over before its compensations begin."""
    await _two(ctx)
    await ctx.run_child(child, run_id="undone-child")


@shape("enough", drive=_cancels, status="cancelled")
async def undone_with_a_wait_between(ctx: Context) -> None:
    """A compensation that has to be retried later lets go of the run."""
    await step("a", effect, compensate=effect)()
    await step("b", effect, compensate=unsure, retries=2, retry_delay=10)()
    await ctx.wait_for_signal("never")
