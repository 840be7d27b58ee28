"""Shapes with forks: one that a body makes, and one that the outside makes of a run that waits."""

import contextlib
from typing import Any

from stepwell import AsyncClient, ConflictError, Context, step
from tests.crash import world as here
from tests.crash.shapes import RUN, SHAPES, child, effect, shape, until, waits

FORK = "the-fork"


@shape(["first", 0, 5, "last"])
async def fork_in_a_body_waits(ctx: Context) -> list[Any]:
    """Forks a child of its own with another input, once, and waits for both."""
    first = await step("first", effect)()
    flows = here.world.client.workflow
    kid = await ctx.start_child(child, 0)
    fork = await flows.fork(kid.run_id, from_event=1, input=5)
    return [first, await flows.result(kid), await flows.result(fork), await step("last", effect)(first)]


async def _forks(client: AsyncClient) -> None:
    flows = client.workflow
    await until(client, waits)
    await flows.fork(RUN, run_id=FORK, input="fork")
    for run_id in (FORK, RUN):
        # Whoever asks again after a crash may find that it is answered.
        with contextlib.suppress(ConflictError):
            (hook,) = await flows.get_hooks(run_id)
            await flows.execute_hook(hook.token, run_id)
        if run_id == FORK:
            assert await flows.result(FORK) == ["first", FORK, "after-fork"]
            events = await flows.get_events(FORK)
            assert sum(event.event_type == "run_forked" for event in events) == 1
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert sum(event.step_id == "first" for event in events) == 1


@shape(["first", RUN, "after-None"], drive=_forks)
async def fork_while_it_waits(ctx: Context, input: Any) -> list[Any]:
    """Is forked while it waits for a hook: what it has done is not done again, and each has a hook of its own."""
    first = await step("first", effect)()
    hook = await ctx.create_hook("go", "approve")
    answer = await ctx.wait_for_hook(hook.token)
    return [first, answer, await step(f"after-{input}", effect)(first)]


__all__ = ["SHAPES"]
