"""The worker's inside: executions, the room they use, and their end."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final, Protocol

from stepwell.clock import Alarm
from stepwell.engine.api import Engine, Session
from stepwell.execution import tasks
from stepwell.execution.branch import StepScope
from stepwell.execution.executor import Execution
from stepwell.execution.host import Flows
from stepwell.progress import Assignment, NewEvent

_log: Final = logging.getLogger("stepwell.worker")
_LOOK_S: Final = 0.05


class Executable(Protocol):
    """A workflow, as far as a runner cares."""

    @property
    def retention_ms(self) -> int | None: ...

    async def execute(self, execution: Execution) -> Any: ...


class Runner:
    """Executes what its session assigns. Implements ``engine.api.Worker`` and ``executor.Host``."""

    def __init__(
        self, engine: Engine, flows: Flows, workflows: Mapping[tuple[str, str], Executable], *, concurrency: int
    ) -> None:  # fmt: skip
        settings = engine.settings
        self.flows = flows
        self.payload_bytes_max = settings.payload_bytes_max
        self.keep_ms = settings.keep_ms
        self.shown_ms = settings.waiting_shown_ms
        self.grace_ms = settings.cancel_grace_ms
        self.threads: Executor = ThreadPoolExecutor(settings.threads_max, thread_name_prefix="stepwell-step")
        self.depth_max = settings.depth_max
        self.now_ms: Callable[[], int] = engine.now_ms
        self.may_start: Callable[[], bool]
        self.offer: Callable[[Execution], None]
        self.bodies: dict[StepScope, Execution] = {}
        self.session: Session
        self._engine = engine
        self._workflows = workflows
        self._concurrency = concurrency
        self._active: set[Execution] = set()
        self._kept: set[Execution] = set()
        self._kept_max = settings.kept_max
        self._waking: deque[tuple[Execution, Callable[[], None]]] = deque()
        self._started_after_ms = settings.step_started_ms
        self._sweep: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._is_closed = False
        self._leaving: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._unwatch = tasks.watch(self._loop)

    async def open(self) -> None:
        """Begin to take runs. Ready when it returns."""
        self.session = await self._engine.work(list(self._workflows), self)
        self.may_start = self.session.may_start
        self.offer = self.session.offer
        # A session by way of a server assigns nothing before: the first runs could arrive while it is still on its way to us.
        self.session.has_room()

    # -- for the session

    @property
    def retention(self) -> dict[tuple[str, str], int]:
        """See ``Worker.retention``."""
        kept = {key: workflow.retention_ms for key, workflow in self._workflows.items()}
        return {key: ms for key, ms in kept.items() if ms is not None}

    def room(self) -> int:
        """Return how many runs could be assigned now."""
        return max(0, self._concurrency - len(self._active) - len(self._waking))

    def assigned(self, assignment: Assignment) -> Execution:
        """Execute a run."""
        workflow = self._workflows[assignment.workflow, assignment.version]
        execution = Execution(assignment, workflow.execute, self)
        if len(self._active) < self._concurrency:
            self._active.add(execution)
            execution.start()
        else:
            # A run that woke while this one was being claimed has taken the room.
            self._kept.add(execution)
            self._waking.append((execution, execution.start))
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._started_after_ms / 2000, self._look_at_bodies)
        return execution

    # -- for executions

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        """See ``Host.call_at``."""
        return self._engine.call_at(when_ms, callback)

    @property
    def writings_max(self) -> int:
        """See ``Host.writings_max``."""
        return self.session.writings_max

    async def until_may_start(self) -> None:
        """See ``Host.until_may_start``."""
        await self.session.until_may_start()

    def rests(self, execution: Execution) -> bool:
        """See ``Host.rests``."""
        may_keep = len(self._kept) < self._kept_max and not self._is_draining
        self._active.discard(execution)
        self._kept.add(execution)
        self._freed()
        return may_keep

    def wake(self, execution: Execution, then: Callable[[], None]) -> None:
        """See ``Host.wake``."""
        if execution not in self._kept:
            then()
        elif len(self._active) < self._concurrency and not self._is_draining:
            self._kept.discard(execution)
            self._active.add(execution)
            then()
        else:
            self._waking.append((execution, then))

    def ended(self, execution: Execution) -> None:
        """See ``Host.ended``."""
        self._active.discard(execution)
        self._kept.discard(execution)
        self.session.let_go(execution)
        self._freed()

    def _freed(self) -> None:
        while self._waking and len(self._active) < self._concurrency and not self._is_draining:
            execution, then = self._waking.popleft()
            self.wake(execution, then)
        if not self._is_draining:
            self.session.has_room()
        elif not self._active and not self._kept:
            self._empty.set()

    def _look_at_bodies(self) -> None:
        """Record as started those steps that take long. One timer for all: most steps are over before it looks."""
        now = self.now_ms()
        for scope, execution in list(self.bodies.items()):
            if now - scope.started_ms < self._started_after_ms:
                break
            if not scope.is_recorded and not execution.closed:
                scope.is_recorded = True
                payload = f'{{"attempt":{scope.attempt}{scope.tail}}}'
                execution.record(NewEvent("step_started", scope.step_id, scope.step_name, payload, execution.time()))
        again = self._active or self._kept
        self._sweep = self._loop.call_later(self._started_after_ms / 2000, self._look_at_bodies) if again else None

    # -- ending

    def leave(self, error: BaseException) -> None:
        """See ``Host.leave``."""
        if self._leaving is None:
            self._leaving = self._loop.create_task(self._leave(error))

    async def _leave(self, error: BaseException) -> None:
        def end_the_loop() -> None:
            raise error

        try:
            await self.drain(0)
        finally:
            # From here it goes through the loop and out of whatever runs it. From the task of the step it would have, too, but
            # then the tasks by which its run is handed back are cancelled with all others.
            self._loop.call_soon(end_the_loop)

    async def drain(self, timeout_s: float) -> None:
        """Take no more runs, let running bodies finish within the timeout, hand the rest back at once."""
        self._is_draining = True
        self.session.stop_assigning()
        self._waking.clear()
        if self._active or self._kept:
            for execution in [*self._active, *self._kept]:
                execution.drain()
            if not await self._handed_back(timeout_s):
                for execution in [*self._active, *self._kept]:
                    execution.release()
                # What is left is a last commit for each; the session waits for the store as long as calls do.
                if not await self._handed_back(self._engine.settings.patience_ms / 1000):
                    _log.warning("%d runs could not be handed back: nobody answers", len(self._active) + len(self._kept))
        await self.close()

    async def _handed_back(self, timeout_s: float) -> bool:
        """Return whether nothing is held any more: within the timeout, and not much later than nobody is there to take it."""
        ends = asyncio.ensure_future(self._empty.wait()), asyncio.ensure_future(self._until_in_vain())
        try:
            await asyncio.wait(ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return self._empty.is_set()
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _until_in_vain(self) -> None:
        """Return once no body is under way, and nothing that is held can be recorded any more."""
        while True:
            await self.session.until_lost()
            if not self.bodies:
                return
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """End now; what is held is handed back without being recorded further."""
        self._is_draining = True
        if self._is_closed:
            return
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        try:
            await self.session.close()
        finally:
            self._unwatch()
            self.threads.shutdown(wait=False, cancel_futures=True)
