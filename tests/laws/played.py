"""The real thing beside the paper: an engine that is driven by the same actions, dies, and comes back on the same store."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from stepwell import (
    AsyncClient,
    ConflictError,
    Context,
    HookExpired,
    SignalTimeout,
    WorkflowWorker,
    current_step,
    failpoints,
    step,
    workflow,
)  # fmt: skip
from stepwell.settings import Settings
from tests import postgres
from tests.laws.paper import COUNTED, HOOK_MS, HOUR_MS, Conflict, Paper
from tests.moved import MovedClock

LOOKS_MAX: Final = 800
SETTINGS: Final = Settings(waiting_shown_ms=1, quarantine_alone=1_000, quarantine_pause=1_000)
PLACES: Final = ("commit.before_commit", "commit.after_commit")


async def _body(name: str) -> str:
    return name


async def _undo(_: str) -> None:
    return None


async def _again() -> str:
    if current_step().attempt == 1:
        raise OSError("the first time")
    return "again"


@workflow("played")
async def played(ctx: Context, operations: list[str]) -> list[Any]:
    return [await _play(ctx, operation, place) for place, operation in enumerate(operations)]


async def _play(ctx: Context, operation: str, place: int) -> Any:
    if operation == "step":
        return await step("step", _body)("step")
    if operation == "undoable":
        return await step("undoable", _body, compensate=_undo)("undoable")
    if operation == "flaky":
        return await step("flaky", lambda: _flaky(ctx.attempt))()
    if operation == "again":
        return await step("again", _again, retries=1, retry_delay=HOUR_MS)()
    if operation == "signal":
        return await ctx.wait_for_signal("go")
    if operation == "late":
        try:
            return await ctx.wait_for_signal("go", timeout=f"{HOUR_MS}ms")
        except SignalTimeout:
            return None
    if operation == "sleep":
        await ctx.sleep(f"{HOUR_MS}ms")
        return "sleep"
    if operation == "hook":
        hook = await ctx.create_hook("ask", "approve", expires=f"{HOOK_MS}ms")
        try:
            return await ctx.wait_for_hook(hook.token)
        except HookExpired:
            return None
    if operation == "child":
        return await ctx.run_child(played, ["flaky", "signal"], run_id=f"{ctx.run_id}.{place}")
    await ctx.emit("noted", None)
    return "emit"


def _flaky(attempt: int) -> str:
    if attempt == 1:
        raise ValueError("at the first attempt")
    return "flaky"


class _Died(BaseException):
    """Ends the thread that writes, as the death of the process would."""


class Played:
    """The engine, one life after the other."""

    def __init__(self, url: str) -> None:
        self._answer: asyncio.Future[Any]
        self._url = url
        self._is_postgres = url.startswith("postgresql:")
        self.clock = MovedClock(is_set=self._is_postgres)
        self.is_working = False
        self._begin_life()

    def _begin_life(self) -> None:
        self._runner = asyncio.Runner()
        self.client = AsyncClient(self._url, clock=self.clock, settings=SETTINGS)
        self._worker: WorkflowWorker | None = None
        self._runner.run(self.client.engine())
        if self.is_working:
            self.work()

    def run(self, work: Awaitable[Any]) -> Any:
        async def waited() -> Any:
            return await work

        return self._runner.run(waited())

    def work(self) -> None:
        self.is_working = True
        self._worker = WorkflowWorker(self.client)
        self.run(self._worker.start(played))

    def rest(self) -> None:
        self.is_working = False
        if self._worker is not None:
            self.run(self._worker.stop())
        self._worker = None

    def die(self) -> None:
        """Leave all as a SIGKILL would, and begin anew."""
        failpoints.armed.clear()
        engine: Any = self.client._engine
        self.run(asyncio.to_thread(engine.store.abandon))
        self._runner.close()
        self.clock.forget()
        if self._is_postgres:
            # No lock file tells of this death, only the lease: let it be over.
            postgres.sql(self._url, "UPDATE nodes SET lease_until = 0 WHERE lease_until IS NOT NULL")
        self._begin_life()

    def pass_time(self, ms: int) -> None:
        async def pass_by() -> None:
            self.clock.advance(ms)

        self._runner.run(pass_by())

    def close(self) -> None:
        self.rest()
        wrong = self.run(self.client.check_store())
        self.run(self.client.close())
        self._runner.close()
        assert wrong == []

    def act(self, action: Callable[[AsyncClient], Awaitable[Any]], dies_at: tuple[str, int] | None) -> Any:
        """Do something; if it is told to, die at the nth commit from now, and do it again in the next life."""
        if dies_at is None:
            return self.run(action(self.client))
        return self._do_and_die(action, *dies_at)

    def _do_and_die(self, action: Callable[[AsyncClient], Awaitable[Any]], place: str, nth: int) -> Any:
        count = 0
        has_died = False

        async def life() -> None:
            loop, dead = asyncio.get_running_loop(), asyncio.Event()

            def passing() -> None:
                nonlocal count, has_died
                count += 1
                if count == nth:
                    has_died = True
                    loop.call_soon_threadsafe(dead.set)
                    raise _Died

            failpoints.armed[place] = passing
            doing = asyncio.ensure_future(action(self.client))
            death = asyncio.ensure_future(dead.wait())
            await asyncio.wait({doing, death}, return_when=asyncio.FIRST_COMPLETED)
            if not dead.is_set():
                # Give what follows from it a chance to be died in.
                await asyncio.wait({death}, timeout=0.02)
            failpoints.armed.clear()
            death.cancel()
            if has_died:
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)
            self._answer = doing

        self._runner.run(life())
        if not has_died:
            return self._answer.result()
        self.die()
        try:
            return self.run(action(self.client))
        except ConflictError:
            return None  # it was done before the death

    # -- comparing

    def compare(self, paper: Paper) -> None:
        """Wait until all runs are as they are on paper."""
        self.run(self._compare(paper))

    async def _compare(self, paper: Paper) -> None:
        difference = ""
        for look in range(LOOKS_MAX):
            difference = await self._difference(paper)
            if not difference:
                return
            await asyncio.sleep(0 if look < 50 else 0.002)
        raise AssertionError(difference)

    async def _difference(self, paper: Paper) -> str:
        page = await self.client.workflow.get_runs(limit=100, include=("output",))
        real = {run.run_id: run for run in page.items}
        if set(real) != set(paper.runs):
            return f"runs {sorted(real)}, on paper {sorted(paper.runs)}"
        for run_id, wanted in paper.runs.items():
            run = real[run_id]
            if (run.status, run.attempt) != (wanted.status, wanted.attempt):
                return f"{run_id}: {run.status} at attempt {run.attempt}, on paper {wanted.status} at {wanted.attempt}: {run}"
            if run.status == "completed" and run.output != wanted.results:
                return f"{run_id}: {run.output}, on paper {wanted.results}"
            shape = await self._shape(run_id)
            missing = {
                kind: (shape[kind], wanted.shape[kind])
                for kind in COUNTED
                if not wanted.shape[kind] - wanted.unsure[kind] <= shape[kind] <= wanted.shape[kind]
            }
            if missing:
                return f"{run_id}: its history has, and has on paper: {missing}"
        return ""

    async def _shape(self, run_id: str) -> Counter[str]:
        """Count a run's events, but for the steps that client calls in its code are."""
        events = await self.client.workflow.get_events(run_id)
        return Counter(event.event_type for event in events if not (event.name or "").startswith("workflow."))


def must_be_refused(action: Callable[[], None]) -> bool:
    """Do an action on paper; tell whether it must be refused."""
    try:
        action()
    except Conflict:
        return True
    return False
