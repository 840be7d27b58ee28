"""The engine of a server: clients' calls go over its REST routes, workers over a WebSocket."""

import asyncio
import platform
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw

from stepwell.clock import Alarm, Clock
from stepwell.durations import from_ms
from stepwell.engine.api import (
    ForkRequest,
    MadeHook,
    RunFilter,
    SignalRequest,
    TriggerRequest,
    UpdateRequest,
    Worker,
)
from stepwell.engine.record_calls import Records
from stepwell.errors import StepwellError, ValidationError
from stepwell.execution.tokens import parse_token
from stepwell.model import Event, Hook, Page, Run
from stepwell.remote.clock import ServerClock
from stepwell.remote.http import Http
from stepwell.remote.looks import RemoteLooks
from stepwell.remote.problems import read_batch
from stepwell.remote.records import RemoteRecords
from stepwell.remote.session import RemoteSession
from stepwell.remote.streams import LOST, Patience, events_in
from stepwell.remote.values import (
    read_event,
    read_events,
    read_hook,
    read_hooks,
    read_run,
    read_runs,
    read_why,
)
from stepwell.settings import Settings

_BASE: Final = "/api/workflows"
_RUNS: Final = f"{_BASE}/runs"
_HOOKS: Final = f"{_BASE}/hooks"
_POLL_S: Final = 30.0
_EVENTS_AT_ONCE: Final = 1_000
_BATCH_MAX: Final = 1_000
_CREATED: Final = 201
_ACCEPTED: Final = 202


class _Body(msgspec.Struct, rename="camel", omit_defaults=True):
    pass


class _Signal(_Body):
    name: str
    payload: Raw
    signal_id: str


class _Trigger(_Body):
    workflow_name: str
    input: Raw
    run_id: str
    idempotency_key: str | None = None
    parent_run_id: str | None = None
    tags: list[str] = []
    priority: int = 0
    delay: str | None = None
    start_at: datetime | None = None
    max_events: int | None = None
    execution_timeout: int | None = None
    version: str | None = None
    signal: _Signal | None = None


class _Emit(_Body):
    run_id: str
    event_type: str
    payload: Raw
    event_id: str


class _NewHook(_Body):
    run_id: str
    name: str
    action: str
    payload: Raw
    hook_id: str
    expires: str


class _Change(_Body):
    status: str


class _Update(_Body):
    tags: list[str] | None
    priority: int | None
    max_events: int | None
    execution_timeout: int | None


class _Fork(_Body):
    run_id: str
    from_event: int | None = None
    input: Raw | msgspec.UnsetType = msgspec.UNSET
    version: str | None = None


class _Result(_Body):
    value: Raw
    reason: str


_encode: Final = msgspec.json.Encoder().encode


class RemoteEngine(RemoteLooks):
    """Implements ``Engine`` over a server's URL."""

    def __init__(self, url: str, *, api_key: str | None, clock: Clock, settings: Settings) -> None:
        self.settings = settings
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._boot = clock
        self._clock = ServerClock(clock)
        self._http = Http(self._url, api_key, settings.patience_ms)
        self._sessions: list[RemoteSession] = []
        self.records: Records = RemoteRecords(self._http, settings)

    async def open(self) -> None:
        """See ``Engine.open``. Nothing is sent: a server that is not there yet is noticed by the first call."""
        self._http.open()

    async def close(self) -> None:
        """See ``Engine.close``."""
        sessions, self._sessions = self._sessions, []
        for session in sessions:
            await session.close()
        await self._http.close()

    def now_ms(self) -> int:
        """See ``Engine.now_ms``."""
        return self._clock.now_ms()

    def call_at(self, when_ms: int, callback: Any) -> Alarm:
        """See ``Engine.call_at``."""
        return self._clock.call_at(when_ms, callback)

    # -- runs

    async def trigger(self, request: TriggerRequest) -> Run[Any]:
        """See ``Engine.trigger``."""
        return read_run(await self._http.ask("POST", _RUNS, body=_trigger(request)))

    async def execute(self, request: TriggerRequest, timeout_s: float | None) -> Run[Any]:
        """See ``Engine.execute``. One request, if the run is short."""
        first_s = _POLL_S if timeout_s is None else min(_POLL_S, timeout_s)
        async with asyncio.timeout(timeout_s):
            answer = await self._http.ask("POST", f"{_RUNS}?wait={int(first_s * 1000)}ms", body=_trigger(request), wait_s=first_s)
            run = read_run(answer)
            return run if run.is_over else await self.wait(run.run_id, None)

    async def trigger_many(self, requests: Sequence[TriggerRequest]) -> list[Run[Any] | StepwellError]:
        """See ``Engine.trigger_many``."""
        results: list[Run[Any] | StepwellError] = []
        for start in range(0, len(requests), _BATCH_MAX):
            bodies = b",".join(_trigger(each) for each in requests[start : start + _BATCH_MAX])
            results += read_batch(await self._http.ask("POST", f"{_RUNS}/batch", body=b'{"runs":[' + bodies + b"]}"))
        return results

    async def get_run(self, run_id: str) -> Run[Any]:
        """See ``Engine.get_run``."""
        return read_run(await self._http.ask("GET", _run(run_id)))

    async def get_runs(self, only: RunFilter, limit: int, cursor: str | None) -> Page[Run[Any]]:
        """See ``Engine.get_runs``."""
        if cursor is not None and not isinstance(cursor, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValidationError(f"cursor must be the next_cursor of a page, not {cursor!r:.80}", field="cursor")
        query = {
            "workflowName": only.workflow_name, "status": only.status, "parentRunId": only.parent_run_id,
            "createdAfter": _moment(only.created_after), "createdBefore": _moment(only.created_before),
            "limit": str(limit), "cursor": cursor,
        }  # fmt: skip
        pairs = [f"{name}={quote(text, safe='')}" for name, text in query.items() if text is not None]
        pairs += [f"tag={quote(tag, safe='')}" for tag in only.tags]
        pairs += [f"include={each}" for each in only.include]
        return read_runs(await self._http.ask("GET", f"{_RUNS}?{'&'.join(pairs)}"))

    async def wait(self, run_id: str, timeout_s: float | None) -> Run[Any]:
        """See ``Engine.wait``."""
        loop = asyncio.get_running_loop()
        end = None if timeout_s is None else loop.time() + timeout_s
        async with asyncio.timeout(timeout_s):
            while True:
                left = _POLL_S if end is None else min(_POLL_S, max(0.0, end - loop.time()))
                answer = await self._http.ask("GET", f"{_run(run_id)}?wait={int(left * 1000)}ms", wait_s=left)
                run = read_run(answer)
                if run.is_over:
                    return run
                if end is not None and loop.time() >= end:
                    raise TimeoutError

    async def cancel(self, run_id: str, reason: str | None, children: bool) -> Run[Any]:
        """See ``Engine.cancel``."""
        query = {"children": "true" if children else "false"}
        if reason is not None:
            query["reason"] = reason
        return read_run(await self._http.ask("DELETE", _run(run_id), query=query))

    async def pause(self, run_id: str) -> Run[Any]:
        """See ``Engine.pause``."""
        return await self._change(run_id, "paused", is_safe=True)

    async def resume(self, run_id: str) -> Run[Any]:
        """See ``Engine.resume``."""
        return await self._change(run_id, "running", is_safe=False)

    async def retry(self, run_id: str) -> Run[Any]:
        """See ``Engine.retry``."""
        return await self._change(run_id, "pending", is_safe=False)

    async def fork(self, run_id: str, request: ForkRequest) -> Run[Any]:
        """See ``Engine.fork``."""
        body = _Fork(
            run_id=request.run_id, from_event=request.from_event, version=request.version,
            input=msgspec.UNSET if request.input is None else Raw(request.input),
        )  # fmt: skip
        return read_run(await self._http.ask("POST", f"{_run(run_id)}/fork", body=_encode(body)))

    async def _change(self, run_id: str, status: str, *, is_safe: bool) -> Run[Any]:
        return read_run(await self._http.ask("PATCH", _run(run_id), body=_encode(_Change(status)), is_safe=is_safe))

    async def update_run(self, run_id: str, update: UpdateRequest) -> Run[Any]:
        """See ``Engine.update_run``."""
        body = _Update(
            tags=update.tags, priority=update.priority, max_events=update.max_events,
            execution_timeout=update.execution_timeout_ms,
        )  # fmt: skip
        return read_run(await self._http.ask("PATCH", _run(run_id), body=_encode(body)))

    async def set_step_result(self, run_id: str, step_id: str, value: str, reason: str) -> Run[Any]:
        """See ``Engine.set_step_result``."""
        path = f"{_run(run_id)}/steps/{quote(step_id, safe='')}"
        return read_run(await self._http.ask("PUT", path, body=_encode(_Result(Raw(value), reason)), is_safe=False))

    async def why(self, run_id: str) -> str:
        """See ``Engine.why``."""
        return read_why(await self._http.ask("GET", f"{_run(run_id)}/why"))

    # -- what is sent to runs, and heard of them

    async def get_events(self, run_id: str, after: int, limit: int | None) -> list[Event]:
        """See ``Engine.get_events``."""
        events: list[Event] = []
        while True:
            room = _EVENTS_AT_ONCE if limit is None else min(_EVENTS_AT_ONCE, limit - len(events))
            body = await self._http.ask("GET", f"{_run(run_id)}/events", query={"after": str(after), "limit": str(room)})
            chunk = read_events(body)
            events += chunk
            if not chunk or len(events) == limit or (len(chunk) < room and not _is_cut(body)):
                return events
            after = chunk[-1].seq

    async def stream_events(self, run_id: str, after: int) -> AsyncIterator[Event]:
        """See ``Engine.stream_events``. A lost connection is opened again, where the last event was."""
        patience = Patience(f"the events of run {run_id!r}", self.settings.patience_ms / 1000)
        while True:
            headers = {"accept": "text/event-stream", "last-event-id": str(after)}
            try:
                async with self._http.stream(f"{_run(run_id)}/events", headers) as response:
                    async for text in events_in(response.content):
                        event = read_event(text)
                        after = event.seq
                        patience.heard()
                        yield event
                        if event.event_type in _FINAL:
                            # The server knows whether it is the last: after a retry the run goes on.
                            run = await self.get_run(run_id)
                            if run.is_over and run.event_count <= after:
                                return
            except LOST as error:
                await patience.again(error)
            else:
                run = await self.get_run(run_id)
                if run.is_over and run.event_count <= after:
                    return

    async def emit_event(self, run_id: str, event_type: str, payload: str, event_id: str) -> Event:
        """See ``Engine.emit_event``."""
        body = _Emit(run_id, event_type, Raw(payload), event_id)
        return read_event(await self._http.ask("POST", f"{_BASE}/events", body=_encode(body)))

    async def send_signal(self, run_id: str, signal: SignalRequest) -> bool:
        """See ``Engine.send_signal``."""
        answer = await self._http.answer("POST", f"{_run(run_id)}/signals", body=_encode(_signal(signal)))
        return answer.status == _ACCEPTED

    # -- hooks

    async def create_hook(self, run_id: str, hook_id: str, name: str, action: str, payload: str, expires_in_ms: int) -> MadeHook:
        """See ``Engine.create_hook``."""
        body = _NewHook(run_id, name, action, Raw(payload), hook_id, f"{expires_in_ms}ms")
        answer = await self._http.answer("POST", _HOOKS, body=_encode(body))
        return MadeHook(read_hook(answer.body), answer.status == _CREATED)

    async def execute_hook(self, token: str, payload: str, answer_id: str) -> Hook:
        """See ``Engine.execute_hook``."""
        parse_token(token)
        return read_hook(
            await self._http.ask(
                "POST", f"{_HOOKS}/{quote(token, safe='')}", body=payload.encode(), headers={"idempotency-key": answer_id}
            )
        )

    async def get_hook(self, token: str) -> Hook:
        """See ``Engine.get_hook``."""
        return read_hook(await self._http.ask("GET", f"{_HOOKS}/{quote(token, safe='')}"))

    async def get_hooks(self, run_id: str) -> list[Hook]:
        """See ``Engine.get_hooks``."""
        return read_hooks(await self._http.ask("GET", f"{_run(run_id)}/hooks"))

    # -- workers

    async def work(self, workflows: Sequence[tuple[str, str]], worker: Worker) -> RemoteSession:
        """See ``Engine.work``."""
        session = RemoteSession(
            worker, workflows, url=self._url, api_key=self._api_key, clock=self._clock, boot=self._boot,
            agent=f"stepwell python/{platform.python_version()}", patience_s=self.settings.patience_ms / 1000,
        )  # fmt: skip
        await session.open()
        self._sessions.append(session)
        return session


def _trigger(request: TriggerRequest) -> bytes:
    body = _Trigger(
        workflow_name=request.workflow, input=Raw(request.input), run_id=request.run_id,
        idempotency_key=request.idempotency_key, parent_run_id=request.parent_run_id, tags=request.tags,
        priority=request.priority, delay=f"{request.delay_ms}ms" if request.delay_ms else None,
        start_at=None if request.start_at_ms is None else from_ms(request.start_at_ms), max_events=request.max_events,
        execution_timeout=request.execution_timeout_ms, version=request.version,
        signal=None if request.signal is None else _signal(request.signal),
    )  # fmt: skip
    return _encode(body)


_FINAL: Final = frozenset({"run_completed", "run_failed", "run_cancelled"})


def _run(run_id: str) -> str:
    return f"{_RUNS}/{quote(run_id, safe='')}"


def _moment(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def _signal(signal: SignalRequest) -> _Signal:
    return _Signal(signal.name, Raw(signal.payload), signal.signal_id)


def _is_cut(body: bytes) -> bool:
    """Whether the server has shortened a page that would have been too long."""
    return b'"nextCursor":"' in body
