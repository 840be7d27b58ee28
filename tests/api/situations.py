"""Runs in each state that a run can be in, for the table of outcomes: how they get there, and how they go on from there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from stepwell import AsyncClient, ConflictError, Context, Run, Settings, WorkflowWorker, step, workflow
from tests.moved import MovedClock

RUN: Final = "the-run"
LONG_MS: Final = 30 * 86_400_000
"""How long the waits of these runs are."""
TIMEOUT_MS: Final = 10 * 86_400_000
LOOKS_MAX: Final = 3_000


class Scene:
    """One run, its world, and the clock."""

    def __init__(self, client: AsyncClient, clock: MovedClock, stack: AsyncExitStack) -> None:
        self.client = client
        self.flows = client.workflow
        self.clock = clock
        self.token = ""
        self.has_deadline = False
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        """A body, or a compensation, has begun; it may end."""
        self.bodies: list[str] = []
        self._stack = stack
        self._worker: WorkflowWorker | None = None

    async def work(self) -> None:
        """Have a worker at work."""
        if self._worker is None:
            self._worker = await self._stack.enter_async_context(self.client.worker(anything, child_of_anything))

    async def trigger(self, how: str, **options: Any) -> None:
        """Make the run, and a hook that somebody may answer."""
        if self.has_deadline:
            options["execution_timeout"] = TIMEOUT_MS
        await self.flows.trigger(anything, how, run_id=RUN, **options)
        self.token = (await self.flows.create_hook(RUN, "asked", "approve", expires=f"{2 * LONG_MS}ms")).token

    async def executed(self, how: str) -> None:
        """Make the run, then have it executed."""
        await self.trigger(how)
        await self.work()

    async def run(self) -> Run[Any]:
        return await self.flows.get_run(RUN)

    async def history(self) -> list[str]:
        """Return the types of its events, but for those that tell that a body takes long."""
        return [event.event_type for event in await self.flows.get_events(RUN) if event.event_type != "step_started"]

    async def until(self, is_so: Callable[[Run[Any]], bool]) -> Run[Any]:
        """Return the run when it is so. Time goes by meanwhile, a millisecond a look."""
        for _ in range(LOOKS_MAX):
            run = await self.run()
            if is_so(run):
                return run
            self.clock.advance(1)
            await asyncio.sleep(0.001)
        raise AssertionError(f"still not so: {run} {await self.history()}")

    async def over(self) -> Run[Any]:
        return await self.until(lambda run: run.is_over)

    async def waits(self, kind: str) -> None:
        """Return when the run waits for this kind of thing."""
        await self.until(lambda run: run.waiting_for is not None and run.waiting_for.kind == kind)


scenes: list[Scene] = []
"""The one of the test that runs now."""


async def _body() -> str:
    here = scenes[-1]
    here.bodies.append("body")
    here.begun.set()
    await here.gate.wait()
    return "body"


async def _undo(_: object) -> None:
    here = scenes[-1]
    here.bodies.append("undo")
    here.begun.set()
    await here.gate.wait()


async def _flaky() -> str:
    here = scenes[-1]
    here.bodies.append("flaky")
    if len(here.bodies) == 1:
        raise OSError("the first time")
    return "flaky"


@workflow("outcomes-child")
async def child_of_anything(ctx: Context) -> Any:
    return await ctx.wait_for_signal("child")


@workflow("outcomes")
async def anything(ctx: Context, how: str) -> str:
    if how.startswith("undoable"):
        await step("done", lambda: 1, compensate=_undo)()
        await step("done", lambda: 2, compensate=_undo)()
    if how == "body":
        await step("body", _body)()
        await step("after", _body)()
    elif how == "sleep":
        await ctx.sleep(f"{LONG_MS}ms")
    elif how in ("signal", "undoable-signal"):
        await ctx.wait_for_signal("go")
    elif how == "hook":
        await ctx.wait_for_hook(scenes[-1].token)
    elif how == "child":
        await ctx.run_child(child_of_anything)
    elif how == "retry":
        await step("flaky", _flaky, retries=1, retry_delay=LONG_MS)()
    elif how in ("failing", "undoable-failing") and ctx.attempt == 1:
        raise ValueError("at the first attempt")
    return "end"


class Situation:
    """A state: how a run gets into it, and how it goes on to its end if nothing is done to it."""

    def __init__(self, begin: Callable[[Scene], Awaitable[None]], go_on: Callable[[Scene], Awaitable[Any]], end: str) -> None:
        self.begin = begin
        self.go_on = go_on
        self.end = end


async def _pending(scene: Scene) -> None:
    await scene.trigger("end")


async def _delayed(scene: Scene) -> None:
    await scene.work()
    await scene.trigger("end", delay=f"{LONG_MS}ms")


async def _running(scene: Scene) -> None:
    await scene.executed("body")
    await scene.begun.wait()


def _waiting(how: str, kind: str) -> Callable[[Scene], Awaitable[None]]:
    async def begin(scene: Scene) -> None:
        await scene.executed(how)
        await scene.waits(kind)

    return begin


async def _failing_undoes(scene: Scene) -> None:
    await scene.executed("undoable-failing")
    await scene.begun.wait()


async def _cancelled_undoes(scene: Scene) -> None:
    await scene.executed("undoable-signal")
    await scene.waits("signal")
    await scene.flows.cancel(RUN)
    await scene.begun.wait()


async def _to_be_paused(scene: Scene) -> None:
    await _running(scene)
    await scene.flows.pause(RUN)


async def _paused(scene: Scene) -> None:
    await scene.executed("signal")
    await scene.waits("signal")
    await scene.flows.pause(RUN)
    await scene.until(lambda run: run.status == "paused")


def _ended(how: str) -> Callable[[Scene], Awaitable[None]]:
    async def begin(scene: Scene) -> None:
        scene.gate.set()
        await scene.executed(how)
        await scene.over()

    return begin


async def _cancelled(scene: Scene) -> None:
    await scene.trigger("end")
    await scene.flows.cancel(RUN)


async def _open_gate(scene: Scene) -> None:
    scene.gate.set()


async def _pass_time(scene: Scene) -> None:
    scene.clock.advance(LONG_MS)


async def _send_go(scene: Scene) -> None:
    scene.gate.set()
    await scene.flows.send_signal(RUN, "go")


async def _answer(scene: Scene) -> None:
    await scene.flows.execute_hook(scene.token)


async def _tell_child(scene: Scene) -> None:
    (child,) = await scene.flows.get_child_runs(RUN)
    await scene.flows.send_signal(child.run_id, "child")


async def _resume(scene: Scene) -> None:
    await scene.flows.resume(RUN)
    with contextlib.suppress(ConflictError):  # it may have found a signal that was kept
        await _send_go(scene)


async def _nothing(scene: Scene) -> None:
    return None


SITUATIONS: Final = {
    "pending": Situation(_pending, Scene.work, "completed"),
    "delayed": Situation(_delayed, _pass_time, "completed"),
    "running a step": Situation(_running, _open_gate, "completed"),
    "sleeping": Situation(_waiting("sleep", "sleep"), _pass_time, "completed"),
    "waiting for a signal": Situation(_waiting("signal", "signal"), _send_go, "completed"),
    "waiting for a hook": Situation(_waiting("hook", "hook"), _answer, "completed"),
    "waiting for a child": Situation(_waiting("child", "child"), _tell_child, "completed"),
    "in a retry delay": Situation(_waiting("retry", "retry"), _pass_time, "completed"),
    "waiting, with steps to undo": Situation(_waiting("undoable-signal", "signal"), _send_go, "completed"),
    "undone for a failure": Situation(_failing_undoes, _open_gate, "failed"),
    "undone for a cancel": Situation(_cancelled_undoes, _open_gate, "cancelled"),
    "about to be paused": Situation(_to_be_paused, _open_gate, "paused"),
    "paused": Situation(_paused, _resume, "completed"),
    "completed": Situation(_ended("end"), _nothing, "completed"),
    "failed": Situation(_ended("failing"), _nothing, "failed"),
    "failed and undone": Situation(_ended("undoable-failing"), _nothing, "failed"),
    "cancelled": Situation(_cancelled, _nothing, "cancelled"),
}


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """A store in memory, a clock that stands still, and nobody at work yet."""
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncClient("memory://", clock=clock, settings=Settings(waiting_shown_ms=1)))
        here = Scene(client, clock, stack)
        scenes.append(here)
        try:
            yield here
            assert await client.check_store() == []
        finally:
            here.gate.set()
            scenes.pop()
