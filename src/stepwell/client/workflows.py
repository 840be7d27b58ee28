"""``client.workflow``: what is asked of runs.

In the body of a workflow each call is recorded as a step of its own, so that replay does not do it twice; in a step, and outside
of workflows, it is a plain call.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar, overload

import msgspec

from stepwell import codec
from stepwell.authoring.workflow import Workflow
from stepwell.checks import check_int, check_run_id
from stepwell.client.hooks import AsyncHooks
from stepwell.client.recorded import derived, derived_id
from stepwell.client.requests import LIST_MAX, event_type, new_id, run_filter, signal_request, trigger_request
from stepwell.durations import Duration, parse_ms
from stepwell.engine.api import Engine, TriggerRequest
from stepwell.errors import (
    ChildFailed,
    NotFoundError,
    RunCancelled,
    RunFailed,
    StepwellError,
    ValidationError,
    kinds_of,
    qualified_name,
)
from stepwell.execution.branch import StepScope, current
from stepwell.execution.call import came_from
from stepwell.execution.executor import Here
from stepwell.execution.here import branch_here
from stepwell.execution.identity import child_id
from stepwell.execution.waits import TimedOut, wait_for_run
from stepwell.model import Event, Page, Run, Stats, Status

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
T = TypeVar("T")


class _Final(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw(b"null")


class _Ending(msgspec.Struct):
    """What a run is told of the end of another."""

    status: str = "missing"
    final: _Final = msgspec.field(default_factory=_Final)


_ending: Final = msgspec.json.Decoder(_Ending).decode


def _request(
    engine: Engine, workflow: Any, input: Any = None, *, run_id: str | None = None, idempotency_key: str | None = None,
    parent_run_id: str | None = None, tags: Sequence[str] | None = None, priority: int = 0, delay: Duration | None = None,
    start_at: datetime | None = None, max_events: int | None = None, execution_timeout: Duration | None = None,
    version: str | None = None,
) -> TriggerRequest:  # fmt: skip
    scope = current.get()
    if isinstance(scope, StepScope) and idempotency_key is None and run_id is None:
        # So that a step that is tried again does not start two runs.
        if scope.step_name == "workflow.trigger" and parent_run_id == scope.run_id:
            run_id = child_id(derived(scope))
        else:
            idempotency_key = derived(scope)
    return trigger_request(
        workflow, input, engine.settings, run_id=run_id, idempotency_key=idempotency_key, parent_run_id=parent_run_id,
        tags=tags, priority=priority, delay=delay, start_at=start_at, max_events=max_events,
        execution_timeout=execution_timeout, version=version,
    )  # fmt: skip


def _late(run_id: str, timeout_s: float | None) -> TimeoutError:
    return TimeoutError(f"run {run_id!r} is not over after {timeout_s:g} s")


class AsyncWorkflows(AsyncHooks):
    """The runs of an engine."""

    @overload
    async def trigger(
        self, workflow: Workflow[I, R], input: I = ..., *, run_id: str | None = None, idempotency_key: str | None = None,
        parent_run_id: str | None = None, tags: Sequence[str] | None = None, priority: int = 0, delay: Duration | None = None,
        start_at: datetime | None = None, max_events: int | None = None, execution_timeout: Duration | None = None,
        version: str | None = None,
    ) -> Run[R]: ...  # fmt: skip
    @overload
    async def trigger(
        self, workflow: str, input: Any = None, *, run_id: str | None = None, idempotency_key: str | None = None,
        parent_run_id: str | None = None, tags: Sequence[str] | None = None, priority: int = 0, delay: Duration | None = None,
        start_at: datetime | None = None, max_events: int | None = None, execution_timeout: Duration | None = None,
        version: str | None = None,
    ) -> Run[Any]: ...  # fmt: skip
    async def trigger(self, workflow: Any, input: Any = None, **options: Any) -> Run[Any]:
        """Make a run of a workflow, known here or not.

        Args:
            workflow: Its name, or the ``Workflow``.
            input: Any JSON value; the workflow function gets it as is.
            options: ``run_id`` (drawn), ``idempotency_key`` (one run for all who use it, per workflow name), ``parent_run_id``,
                ``tags``, ``priority`` (0; a step is worth a minute in the queue), ``delay`` or ``start_at``, ``max_events``,
                ``execution_timeout`` (a bare number is milliseconds), ``version``.

        Raises:
            ConflictError: The id or the key is taken by other input, or the parent is over.
            NotFoundError: There is no such parent.
            ValidationError: A field is wrong; ``field`` says which.
            PayloadTooLargeError, NotSerializableError: The input. Nothing was stored.
            UnavailableError: The store did not answer.

        Durability: stored on return. Twice with the same ``run_id`` or ``idempotency_key`` and input gives one run.
        """
        return await self._recorded("trigger", self._trigger, workflow, input, **options)

    async def _trigger(self, workflow: Any, input: Any = None, **options: Any) -> Run[Any]:
        engine = await self._client.engine()
        return await engine.trigger(_request(engine, workflow, input, **options))

    @overload
    async def execute(
        self, workflow: Workflow[I, R], input: I = ..., *, timeout: Duration | None = None, run_id: str | None = None,
        idempotency_key: str | None = None, parent_run_id: str | None = None, tags: Sequence[str] | None = None,
        priority: int = 0, delay: Duration | None = None, start_at: datetime | None = None, max_events: int | None = None,
        execution_timeout: Duration | None = None, version: str | None = None,
    ) -> R: ...  # fmt: skip
    @overload
    async def execute(
        self, workflow: str, input: Any = None, *, timeout: Duration | None = None, run_id: str | None = None,
        idempotency_key: str | None = None, parent_run_id: str | None = None, tags: Sequence[str] | None = None,
        priority: int = 0, delay: Duration | None = None, start_at: datetime | None = None, max_events: int | None = None,
        execution_timeout: Duration | None = None, version: str | None = None,
    ) -> Any: ...  # fmt: skip
    async def execute(self, workflow: Any, input: Any = None, *, timeout: Duration | None = None, **options: Any) -> Any:
        """Make a run, and return its output once it is over: ``trigger`` and ``result`` in one request.

        Args:
            workflow: Its name, or the ``Workflow``.
            input: Any JSON value; the workflow function gets it as is.
            timeout: How long to wait (for ever). A bare number is seconds. The run goes on.
            options: Those of ``trigger``. Pass a ``run_id`` to find the run again if the wait is cut short.

        Raises:
            What ``trigger`` and ``result`` raise.

        Durability: as ``trigger``, from the moment at which the run is stored. Twice with the same ``run_id`` or
        ``idempotency_key`` and input is one run, and both have its output.
        """
        if branch_here() is not None:
            return await self.result(await self.trigger(workflow, input, **options), timeout)
        timeout_s = None if timeout is None else parse_ms(timeout, bare="s", field="timeout") / 1000
        engine = await self._client.engine()
        request = _request(engine, workflow, input, **options)
        try:
            return output_of(await engine.execute(request, timeout_s))
        except TimeoutError:
            raise _late(request.run_id, timeout_s) from None

    async def get_run(self, id: str) -> Run[Any]:
        """Return a run, with input and output.

        Raises:
            NotFoundError: There is none with this id.
        """
        return await self._recorded("get_run", self._get_run, check_run_id(id, "id"))

    async def _get_run(self, id: str) -> Run[Any]:
        return await (await self._client.engine()).get_run(id)

    async def get_runs(
        self, workflow_name: "str | Workflow[Any, Any] | None" = None, status: Status | None = None,
        parent_run_id: str | None = None, tags: Sequence[str] | None = None, created_after: datetime | None = None,
        created_before: datetime | None = None, limit: int = 20, cursor: str | None = None, include: Sequence[str] = (),
    ) -> Page[Run[Any]]:  # fmt: skip
        """Return a page of runs, newest first; ``include`` takes ``"input"`` and ``"output"``. ``limit`` is 1 to 500."""
        only = run_filter(workflow_name, status, parent_run_id, tags, created_after, created_before, include)
        check_int(limit, "limit", 1, LIST_MAX)

        async def get_runs() -> Page[Run[Any]]:
            return await (await self._client.engine()).get_runs(only, limit, cursor)

        return await self._recorded("get_runs", get_runs)

    async def iter_runs(
        self, workflow_name: "str | Workflow[Any, Any] | None" = None, status: Status | None = None,
        parent_run_id: str | None = None, tags: Sequence[str] | None = None, created_after: datetime | None = None,
        created_before: datetime | None = None, include: Sequence[str] = (),
    ) -> AsyncIterator[Run[Any]]:  # fmt: skip
        """Yield all runs that fit, newest first, page by page."""
        cursor = None
        while True:
            page = await self.get_runs(
                workflow_name, status, parent_run_id, tags, created_after, created_before, LIST_MAX, cursor, include
            )  # fmt: skip
            for run in page:
                yield run
            cursor = page.next_cursor
            if cursor is None:
                return

    async def get_child_runs(self, id: str, limit: int = 20, cursor: str | None = None) -> Page[Run[Any]]:
        """Return a page of the children of a run, newest first. ``limit`` is 1 to 500."""
        await self.get_run(id)
        return await self.get_runs(parent_run_id=id, limit=limit, cursor=cursor)

    async def get_parent_run(self, id: str) -> Run[Any]:
        """Return the parent of a run.

        Raises:
            NotFoundError: It has none, or there is no such run.
        """
        parent = (await self.get_run(id)).parent_run_id
        if parent is None:
            raise NotFoundError(f"run {id!r} has no parent")
        return await self.get_run(parent)

    async def wait(self, run_id: str, timeout: Duration | None = None) -> Run[Any]:
        """Return the run once it is over. A bare ``timeout`` is seconds.

        Raises:
            TimeoutError: It is not over by then. NotFoundError: there is no such run.
        """
        check_run_id(run_id)
        timeout_s = None if timeout is None else parse_ms(timeout, bare="s", field="timeout") / 1000
        here = branch_here()
        if here is None:
            return await self._wait(run_id, timeout_s)
        await self._until_over(here, run_id, timeout_s)
        return await self._recorded("wait", self._wait, run_id, None)

    async def _until_over(self, here: Here, run_id: str, timeout_s: float | None) -> _Ending:
        """Wait durably: the run of the workflow that calls this holds nothing meanwhile."""
        try:
            answer = await wait_for_run(here, run_id, None if timeout_s is None else int(timeout_s * 1000))
        except TimedOut:
            raise _late(run_id, timeout_s) from None
        ending = _ending(answer.payload)
        if ending.status == "missing":
            raise NotFoundError(f"there is no run {run_id!r}")
        return ending

    async def _wait(self, run_id: str, timeout_s: float | None) -> Run[Any]:
        engine = await self._client.engine()
        try:
            return await engine.wait(run_id, timeout_s)
        except TimeoutError:
            raise _late(run_id, timeout_s) from None

    async def result(self, run_id: "str | Run[R]", timeout: Duration | None = None) -> Any:
        """Return the output of a run once it is over. A bare ``timeout`` is seconds.

        Raises:
            RunFailed: It failed. RunCancelled: it was cancelled. Both carry the ``run``. In a workflow, ``ChildFailed`` for
                both where the run is its child.
            TimeoutError: It is not over by then.
        """
        run_id = check_run_id(run_id.run_id if isinstance(run_id, Run) else run_id)
        here = branch_here()
        if here is None:
            return output_of(await self.wait(run_id, timeout))
        timeout_s = None if timeout is None else parse_ms(timeout, bare="s", field="timeout") / 1000
        ending = await self._until_over(here, run_id, timeout_s)
        if ending.status == "completed":
            return codec.decode(bytes(ending.final.output).decode())
        run = await self._recorded("wait", self._wait, run_id, None)
        return output_of(run, parents=(here.execution.run_id, *here.execution.history.sources))

    async def get_events(self, run_id: str, after: int | None = None, limit: int | None = None) -> list[Event]:
        """Return the history of a run in order: what comes after event number ``after``, ``limit`` of it (all)."""
        check_run_id(run_id)
        after = 0 if after is None else check_int(after, "after", 0, 2**53)
        if limit is not None:
            check_int(limit, "limit", 1, 10_000_000)
        return await self._recorded("get_events", self._get_events, run_id, after, limit)

    async def _get_events(self, run_id: str, after: int, limit: int | None) -> list[Event]:
        return await (await self._client.engine()).get_events(run_id, after, limit)

    async def stream_events(self, run_id: str, after: int | None = None) -> AsyncIterator[Event]:
        """Yield the events of a run as they are recorded, from the first (or after number ``after``), until the final one."""
        if branch_here() is not None:
            raise StepwellError("stream_events cannot be replayed: use it outside of workflows, or wait for signals")
        engine = await self._client.engine()
        async for event in engine.stream_events(check_run_id(run_id), after or 0):
            yield event

    async def emit_event(self, run_id: str, event_type: str, payload: Any = None) -> Event:
        """Append an event of your own to a run's history. It counts toward ``max_events``.

        Raises:
            ValidationError: The type is one of stepwell's own. ConflictError: the run is over, or its history full.
        """
        return await self._recorded("emit_event", self._emit_event, run_id, event_type, payload)

    async def _emit_event(self, run_id: str, kind: str, payload: Any) -> Event:
        engine = await self._client.engine()
        scope = current.get()
        event_id = derived(scope) if isinstance(scope, StepScope) and scope.step_name == "workflow.emit_event" else new_id()
        text = codec.encode(payload, field="payload", limit_bytes=engine.settings.payload_bytes_max)
        return await engine.emit_event(check_run_id(run_id), event_type(kind), text, event_id)

    async def send_signal(self, run_id: str, name: str, payload: Any = None, *, signal_id: str | None = None) -> None:
        """Send a named message to a run. One that is not waiting yet receives it when it asks.

        Raises:
            NotFoundError: There is no such run. ConflictError: it is over, or too many messages wait for it.
            UnavailableError: The engine could not be reached.

        Durability: stored on return. Calling twice sends two signals; pass the same ``signal_id`` to send one.
        """
        await self._recorded("send_signal", self._send_signal, run_id, name, payload, signal_id)

    async def _send_signal(self, run_id: str, name: str, payload: Any, signal_id: str | None) -> None:
        engine = await self._client.engine()
        await engine.send_signal(check_run_id(run_id), signal_request(name, payload, signal_id or derived_id(), engine.settings))

    async def signal_with_start(
        self, workflow: "str | Workflow[Any, Any]", input: Any, signal_name: str, payload: Any, *, run_id: str
    ) -> Run[Any]:
        """Send a signal to the run with this id, and start it first if it does not exist: both in one commit.

        Raises:
            ConflictError: The run is over, or the id is taken by other input.
        """
        return await self._recorded("signal_with_start", self._signal_with_start, workflow, input, signal_name, payload, run_id)

    async def _signal_with_start(self, workflow: Any, input: Any, signal_name: str, payload: Any, run_id: str) -> Run[Any]:
        engine = await self._client.engine()
        request = trigger_request(
            workflow, input, engine.settings, run_id=run_id, idempotency_key=None, parent_run_id=None, tags=None, priority=0,
            delay=None, start_at=None, max_events=None, execution_timeout=None, version=None,
            signal=signal_request(signal_name, payload, derived_id(), engine.settings),
        )  # fmt: skip
        return await engine.trigger(request)

    async def why(self, run_id: str) -> str:
        """Return one sentence: why the run is not moving, with the evidence."""
        return await self._recorded("why", self._why, check_run_id(run_id))

    async def _why(self, run_id: str) -> str:
        return await (await self._client.engine()).why(run_id)

    async def stats(self) -> Stats:
        """Return counts over the whole store."""

        async def stats() -> Stats:
            return await (await self._client.engine()).stats()

        if branch_here() is not None:
            raise ValidationError("stats is not for workflows: nothing in it can be replayed", field="stats")
        return await stats()


def output_of(run: Run[Any], *, parents: Sequence[str] = ()) -> Any:
    """Return the output of a run that is over.

    Raises:
        RunFailed, RunCancelled: It has none. ``ChildFailed`` for both, if a parent asks: its own, or a fork of that.
    """
    if run.status == "completed":
        return run.output
    if parents:
        error = _child_failed(run) if run.parent_run_id in parents else _failed(run)
        came_from(error, f"run:{run.run_id}")
        raise error
    raise _failed(run)


def _failed(run: Run[Any]) -> Exception:
    if run.status == "cancelled":
        reason = f": {run.cancel_reason}" if run.cancel_reason else ""
        return RunCancelled(f"run {run.run_id!r} was cancelled{reason}", reason=run.cancel_reason, run=run)
    details = run.error_details
    kind, message = (details.type, details.message) if details is not None else ("unknown", run.error or "")
    text = f"run {run.run_id!r} of {run.workflow_name!r} failed: {run.error}"
    return RunFailed(text, type=kind, message=message, run=run, kinds=kinds_of(kind))


def _child_failed(run: Run[Any]) -> ChildFailed:
    what = f"child {run.run_id!r} of {run.workflow_name!r}"
    if run.status == "cancelled":
        reason = f": {run.cancel_reason}" if run.cancel_reason else ""
        kind, message, text = qualified_name(RunCancelled), f"it was cancelled{reason}", f"{what} was cancelled{reason}"
    else:
        details = run.error_details
        kind, message = (details.type, details.message) if details is not None else ("unknown", run.error or "")
        text = f"{what} failed: {run.error}"
    return ChildFailed(text, type=kind, message=message, run=run, kinds=kinds_of(kind))
