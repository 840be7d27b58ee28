"""``Client``: the blocking face of ``AsyncClient``, which runs on a loop of its own in a thread. No logic of its own."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Coroutine, Generator, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar, overload

from stepwell.authoring.workflow import Workflow
from stepwell.client.blocking_collections import Collection, Collections
from stepwell.client.client import AsyncClient
from stepwell.client.control import SAME
from stepwell.client.workflows import AsyncWorkflows
from stepwell.durations import Duration
from stepwell.errors import ForkedClientError, StepwellError, UnavailableError
from stepwell.execution.branch import Branch, current
from stepwell.model import Event, Hook, Page, Run, Stats, Status
from stepwell.settings import Settings
from stepwell.worker.worker import WorkflowWorker

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
T = TypeVar("T")


class _Portal:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._waiting: set[Future[Any]] = set()
        self._asked_to_end: BaseException | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="stepwell-client", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                # A step asks the process to end, but this is not its main thread: whoever waits here, or comes next, is told.
                # The loop goes on, so that what is held can be handed back.
                self._asked_to_end = error
                for future in list(self._waiting):
                    future.cancel()
            else:
                return

    def end_if_asked(self) -> None:
        """Raise what a step has raised to end the process: ``SystemExit`` or ``KeyboardInterrupt``. Once."""
        error, self._asked_to_end = self._asked_to_end, None
        if error is not None:
            raise error

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            if os.getpid() != self._pid:
                raise ForkedClientError("this client was opened before a fork: open one in the child process")
            if isinstance(current.get(), Branch):
                raise StepwellError("the blocking Client would block the workflow's loop: use an AsyncClient in workflows")
            if self._is_closed:
                raise UnavailableError("this client is closed")
            self.end_if_asked()
        except BaseException:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._waiting.add(future)
        try:
            return future.result()
        except BaseException:
            # Also where the caller was interrupted: what it asked for is called off.
            future.cancel()
            self.end_if_asked()
            raise
        finally:
            self._waiting.discard(future)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class Workflows:
    """The runs of an engine; see ``AsyncWorkflows`` for what each call does."""

    def __init__(self, portal: _Portal, workflows: AsyncWorkflows) -> None:
        self._run = portal.run
        self._workflows = workflows

    @overload
    def trigger(
        self, workflow: Workflow[I, R], input: I = ..., *, run_id: str | None = None, idempotency_key: str | None = None,
        parent_run_id: str | None = None, tags: Sequence[str] | None = None, priority: int = 0, delay: Duration | None = None,
        start_at: datetime | None = None, max_events: int | None = None, execution_timeout: Duration | None = None,
        version: str | None = None,
    ) -> Run[R]: ...  # fmt: skip
    @overload
    def trigger(
        self, workflow: str, input: Any = None, *, run_id: str | None = None, idempotency_key: str | None = None,
        parent_run_id: str | None = None, tags: Sequence[str] | None = None, priority: int = 0, delay: Duration | None = None,
        start_at: datetime | None = None, max_events: int | None = None, execution_timeout: Duration | None = None,
        version: str | None = None,
    ) -> Run[Any]: ...  # fmt: skip
    def trigger(self, workflow: Any, input: Any = None, **options: Any) -> Run[Any]:
        """See ``AsyncWorkflows.trigger``."""
        return self._run(self._workflows.trigger(workflow, input, **options))

    @overload
    def execute(
        self, workflow: Workflow[I, R], input: I = ..., *, timeout: Duration | None = None, run_id: str | None = None,
        idempotency_key: str | None = None, parent_run_id: str | None = None, tags: Sequence[str] | None = None,
        priority: int = 0, delay: Duration | None = None, start_at: datetime | None = None, max_events: int | None = None,
        execution_timeout: Duration | None = None, version: str | None = None,
    ) -> R: ...  # fmt: skip
    @overload
    def execute(
        self, workflow: str, input: Any = None, *, timeout: Duration | None = None, run_id: str | None = None,
        idempotency_key: str | None = None, parent_run_id: str | None = None, tags: Sequence[str] | None = None,
        priority: int = 0, delay: Duration | None = None, start_at: datetime | None = None, max_events: int | None = None,
        execution_timeout: Duration | None = None, version: str | None = None,
    ) -> Any: ...  # fmt: skip
    def execute(self, workflow: Any, input: Any = None, **options: Any) -> Any:
        """See ``AsyncWorkflows.execute``."""
        return self._run(self._workflows.execute(workflow, input, **options))

    def get_run(self, id: str) -> Run[Any]:
        """See ``AsyncWorkflows.get_run``."""
        return self._run(self._workflows.get_run(id))

    def get_runs(
        self, workflow_name: "str | Workflow[Any, Any] | None" = None, status: Status | None = None,
        parent_run_id: str | None = None, tags: Sequence[str] | None = None, created_after: datetime | None = None,
        created_before: datetime | None = None, limit: int = 20, cursor: str | None = None, include: Sequence[str] = (),
    ) -> Page[Run[Any]]:  # fmt: skip
        """See ``AsyncWorkflows.get_runs``."""
        return self._run(
            self._workflows.get_runs(
                workflow_name, status, parent_run_id, tags, created_after, created_before, limit, cursor, include
            )
        )

    def iter_runs(self, *args: Any, **kwargs: Any) -> Iterator[Run[Any]]:
        """See ``AsyncWorkflows.iter_runs``."""
        runs = self._workflows.iter_runs(*args, **kwargs)
        while (run := self._run(_next(runs))) is not None:
            yield run

    def wait(self, run_id: str, timeout: Duration | None = None) -> Run[Any]:
        """See ``AsyncWorkflows.wait``."""
        return self._run(self._workflows.wait(run_id, timeout))

    def result(self, run_id: "str | Run[R]", timeout: Duration | None = None) -> Any:
        """See ``AsyncWorkflows.result``."""
        return self._run(self._workflows.result(run_id, timeout))

    def get_events(self, run_id: str, after: int | None = None, limit: int | None = None) -> list[Event]:
        """See ``AsyncWorkflows.get_events``."""
        return self._run(self._workflows.get_events(run_id, after, limit))

    def stream_events(self, run_id: str, after: int | None = None) -> Iterator[Event]:
        """See ``AsyncWorkflows.stream_events``."""
        events = self._workflows.stream_events(run_id, after)
        while (event := self._run(_next(events))) is not None:
            yield event

    def emit_event(self, run_id: str, event_type: str, payload: Any = None) -> Event:
        """See ``AsyncWorkflows.emit_event``."""
        return self._run(self._workflows.emit_event(run_id, event_type, payload))

    def send_signal(self, run_id: str, name: str, payload: Any = None, *, signal_id: str | None = None) -> None:
        """See ``AsyncWorkflows.send_signal``."""
        self._run(self._workflows.send_signal(run_id, name, payload, signal_id=signal_id))

    def signal_with_start(
        self, workflow: "str | Workflow[Any, Any]", input: Any, signal_name: str, payload: Any, *, run_id: str
    ) -> Run[Any]:
        """See ``AsyncWorkflows.signal_with_start``."""
        return self._run(self._workflows.signal_with_start(workflow, input, signal_name, payload, run_id=run_id))

    def get_child_runs(self, id: str, limit: int = 20, cursor: str | None = None) -> Page[Run[Any]]:
        """See ``AsyncWorkflows.get_child_runs``."""
        return self._run(self._workflows.get_child_runs(id, limit, cursor))

    def get_parent_run(self, id: str) -> Run[Any]:
        """See ``AsyncWorkflows.get_parent_run``."""
        return self._run(self._workflows.get_parent_run(id))

    def cancel(self, id: str, *, reason: str | None = None, children: bool = True) -> Run[Any]:
        """See ``AsyncWorkflows.cancel``."""
        return self._run(self._workflows.cancel(id, reason=reason, children=children))

    def create_hook(
        self, run_id: str, name: str, action: str, payload: Any = None, *, key: str | None = None, expires: Duration | None = None
    ) -> Hook:
        """See ``AsyncWorkflows.create_hook``."""
        return self._run(self._workflows.create_hook(run_id, name, action, payload, key=key, expires=expires))

    def execute_hook(self, token: str, payload: Any = None) -> Hook:
        """See ``AsyncWorkflows.execute_hook``."""
        return self._run(self._workflows.execute_hook(token, payload))

    def get_hooks(self, run_id: str) -> list[Hook]:
        """See ``AsyncWorkflows.get_hooks``."""
        return self._run(self._workflows.get_hooks(run_id))

    def pause(self, id: str) -> Run[Any]:
        """See ``AsyncWorkflows.pause``."""
        return self._run(self._workflows.pause(id))

    def retry(self, id: str) -> Run[Any]:
        """See ``AsyncWorkflows.retry``."""
        return self._run(self._workflows.retry(id))

    def fork(
        self, id: str, from_event: int | None = None, input: Any = SAME, *, run_id: str | None = None, version: str | None = None
    ) -> Run[Any]:
        """See ``AsyncWorkflows.fork``."""
        return self._run(self._workflows.fork(id, from_event, input, run_id=run_id, version=version))

    def set_step_result(self, id: str, step_id: str, value: Any, reason: str) -> Run[Any]:
        """See ``AsyncWorkflows.set_step_result``."""
        return self._run(self._workflows.set_step_result(id, step_id, value, reason))

    def update_run(
        self, id: str, *, tags: Sequence[str] | None = None, priority: int | None = None, max_events: int | None = None,
        execution_timeout: Duration | None = None,
    ) -> Run[Any]:  # fmt: skip
        """See ``AsyncWorkflows.update_run``."""
        return self._run(self._workflows.update_run(
            id, tags=tags, priority=priority, max_events=max_events, execution_timeout=execution_timeout
        ))  # fmt: skip

    def resume(self, id: str) -> Run[Any]:
        """See ``AsyncWorkflows.resume``."""
        return self._run(self._workflows.resume(id))

    def why(self, run_id: str) -> str:
        """See ``AsyncWorkflows.why``."""
        return self._run(self._workflows.why(run_id))

    def stats(self) -> Stats:
        """See ``AsyncWorkflows.stats``."""
        return self._run(self._workflows.stats())


async def _next(items: Any) -> Any:
    return await anext(items, None)


class Client:
    """``AsyncClient`` for code that is not async; see there for the arguments. It belongs to the process that made it."""

    def __init__(self, url: str | None = None, *, api_key: str | None = None, settings: Settings | None = None) -> None:
        self._client = AsyncClient(url, api_key=api_key, settings=settings)
        self._portal = _Portal()
        self.workflow = Workflows(self._portal, self._client.workflow)
        self.collections = Collections(self._portal.run, self._client.collections)

    def collection(self, name: str) -> Collection:
        """See ``AsyncClient.collection``."""
        return Collection(self._portal.run, self._client.collection(name))

    def close(self) -> None:
        """See ``AsyncClient.close``."""
        with contextlib.suppress(UnavailableError):
            self._portal.run(self._client.close())
        self._portal.close()

    def check_store(self) -> list[str]:
        """See ``AsyncClient.check_store``."""
        return self._portal.run(self._client.check_store())

    @contextlib.contextmanager
    def worker(self, *workflows: "str | Workflow[Any, Any]", concurrency: int = 100) -> Generator[None]:
        """Execute these workflows in the background (all that are registered, if none is named) while the context lasts."""
        worker = WorkflowWorker(self._client, concurrency=concurrency)
        self._portal.run(worker.start(*workflows) if workflows else worker.start_all())
        try:
            yield
        finally:
            self._portal.run(worker.stop())

    def run_worker(self, *, concurrency: int = 100) -> None:
        """Execute everything that is registered, until SIGINT or SIGTERM; drain; return. To be called in the main thread."""
        stopped = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            stopped.set()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with self.worker(concurrency=concurrency):
                # Short waits, because a signal handler of Python runs only between two instructions of the main thread.
                while not stopped.wait(0.5):
                    self._portal.end_if_asked()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        self._portal.run(self._client.engine())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /) -> None:
        self.close()
