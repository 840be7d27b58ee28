"""``WorkflowWorker``: what users start and stop."""

import asyncio
import contextlib
import logging
import signal
from types import TracebackType
from typing import Any, Final, Protocol, Self

from stepwell.authoring.workflow import Workflow, registry
from stepwell.checks import check_int
from stepwell.durations import Duration, parse_ms
from stepwell.engine.api import Engine
from stepwell.execution.host import Flows
from stepwell.worker.runner import Runner

_log: Final = logging.getLogger("stepwell.worker")


class EngineHolder(Protocol):
    """An ``AsyncClient``, as far as a worker cares."""

    async def engine(self) -> Engine:
        """Return the engine, opened."""
        ...

    @property
    def workflow(self) -> Flows:
        """What is asked of runs."""
        ...


class WorkflowWorker:
    """Executes runs of the workflows that it was started for.

    Args:
        client: An ``AsyncClient``. On an embedded one the worker runs in this process.
        concurrency: How many runs execute at once, from 1 up; waiting runs do not count.
        drain_timeout: How long ``stop`` lets running steps go on (a bare number is seconds).
    """

    def __init__(self, client: EngineHolder, *, concurrency: int = 100, drain_timeout: Duration = 30) -> None:
        self._client = client
        self._concurrency = check_int(concurrency, "concurrency", 1, 1_000_000)
        self._drain_s = parse_ms(drain_timeout, bare="s", field="drain_timeout") / 1000
        self._workflows: dict[tuple[str, str], Workflow[Any, Any]] = {}
        self._runners: list[Runner] = []

    async def start(self, *workflows: "str | Workflow[Any, Any]") -> None:
        """Start to execute these workflows, all their registered versions; more calls add up. Ready when it returns.

        Raises:
            NotFoundError: A name is not registered in this process. Nothing was started.
        """
        found: dict[tuple[str, str], Workflow[Any, Any]] = {}
        for wanted in workflows:
            for wf in [wanted] if isinstance(wanted, Workflow) else registry.versions(wanted):
                if wf.key not in self._workflows:
                    found[wf.key] = wf
        if not found:
            return
        runner = Runner(await self._client.engine(), self._client.workflow, found, concurrency=self._concurrency)
        await runner.open()
        self._workflows.update(found)
        self._runners.append(runner)

    async def start_all(self) -> None:
        """Start everything that is registered."""
        await self.start(*registry.all())

    async def stop(self, *, drain: bool = True) -> None:
        """Stop. Draining lets running steps finish within the drain time-out; either way the rest goes on elsewhere at once."""
        runners, self._runners = self._runners, []
        self._workflows.clear()
        await asyncio.gather(*(runner.drain(self._drain_s if drain else 0) for runner in runners))

    async def run(self) -> None:
        """Start everything, until SIGINT or SIGTERM; drain; return. Signal handlers are installed meanwhile."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stopped.set)
        try:
            if not self._runners:
                await self.start_all()
            await stopped.wait()
            _log.info("stopping: running steps may finish within %g s", self._drain_s)
        finally:
            for number, handler in before.items():
                with contextlib.suppress(NotImplementedError):
                    loop.remove_signal_handler(number)
                    # The loop puts Python's default there, which is not what asyncio.run had installed.
                    signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            await self.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /) -> None:
        await self.stop()
