"""A host without a store: what an execution has to record is committed as soon as it is offered."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final

from stepwell.clock import Alarm, Clock
from stepwell.execution.branch import StepScope
from stepwell.execution.executor import Execution
from stepwell.execution.host import Flows
from stepwell.progress import Assignment, Message, Progress, Recorded
from tests.laws.plans import law

HANGS_S: Final = 60
"""No limit of a law: when it passes, something hangs."""
_THREADS: Final = ThreadPoolExecutor(1)


class Instant:
    """Executes one run, from its history on; remembers all that it had to record."""

    threads: Executor = _THREADS
    payload_bytes_max = 1 << 20
    depth_max = 100
    keep_ms = 60_000
    shown_ms = 60_000
    grace_ms = 0

    def __init__(self, assignment: Assignment, flows: Flows, messages: Sequence[Message] = ()) -> None:
        self.flows = flows
        self.bodies: dict[StepScope, Execution] = {}
        self.now_ms: Callable[[], int] = Clock().now_ms
        self.may_start: Callable[[], bool] = lambda: True
        self.offer: Callable[[Execution], None] = lambda execution: self._loop.call_soon(self._commit, execution)
        self.recorded: list[Progress] = []
        self._loop = asyncio.get_running_loop()
        self._seq = assignment.seq
        self._messages = list(messages)
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._execution = Execution(assignment, law.execute, self)

    async def run(self) -> Progress:
        """Go on until the run lets go; return its last word."""
        self._execution.start()
        for message in self._messages:
            await asyncio.sleep(0)
            self._execution.deliver([message])
        async with asyncio.timeout(HANGS_S):
            await self._over
        return self.recorded[-1]

    def _commit(self, execution: Execution) -> None:
        progress = execution.take()
        if progress is None:
            return
        self.recorded.append(progress)
        self._seq += len(progress.events) + len(progress.quiet) + (progress.final is not None)
        execution.settled(Recorded(self._seq, progress.mailbox_consumed, quiet=True))

    # -- Host

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        return Clock().call_at(when_ms, callback)

    async def until_may_start(self) -> None:
        raise AssertionError("the lease always holds")

    def rests(self, execution: Execution) -> bool:
        return True

    def wake(self, execution: Execution, then: Callable[[], None]) -> None:
        then()

    def ended(self, execution: Execution) -> None:
        if not self._over.done():
            self._over.set_result(None)


def new_events(recorded: Sequence[Progress]) -> list[Any]:
    """Return all events that were recorded, but for the final one."""
    return [event for progress in recorded for event in (*progress.events, *progress.quiet)]
