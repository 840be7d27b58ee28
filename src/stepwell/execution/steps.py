"""One step: its recorded outcome if there is one; else its attempts, and the record of how they ended."""

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final

import msgspec

from stepwell import codec
from stepwell.durations import parse_ms
from stepwell.errors import (
    NonRetryableError,
    StepFailed,
    StepInterrupted,
    StepTimeout,
    StepwellError,
    ValidationError,
)
from stepwell.execution.branch import StepScope, current
from stepwell.execution.call import FailureRecord, call, came_from, describe
from stepwell.execution.executor import Execution, Here
from stepwell.execution.failures import recorded_failure, user_line
from stepwell.execution.here import branch_here, for_ever, gone, is_past, past
from stepwell.execution.history import Record
from stepwell.execution.identity import compensation_key
from stepwell.execution.rest import Wait
from stepwell.execution.undoing import LIVE, Undo
from stepwell.model import WaitKind
from stepwell.progress import NewEvent, StoredEvent

_log: Final = logging.getLogger("stepwell.execution")
_DELAY_MAX_MS: Final = 365 * 86_400_000
_HAPPENED: Final = "the step's effect has happened"
_SCALARS: Final = frozenset({type(None), bool, int, str})


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When to try a step again. Delays in milliseconds."""

    retries: int = 0
    delay_ms: int = 1000
    backoff: float = 1.0
    delay_max_ms: int | None = None
    jitter: float = 0.0
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception


class StepSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a step is: its name, its function, and its options."""

    name: str
    fn: Callable[..., Any]
    policy: RetryPolicy
    timeout_ms: int | None
    on_error: Callable[[Exception], Any] | None
    key: str | None
    at_most_once: bool
    returns: Any
    """What to decode the result into; None for plain JSON."""
    is_plainly_async: bool = False
    """Whether the body is an ``async def`` without a time-out."""
    compensate: "StepSpec | None" = None
    """What undoes it: called with its result."""
    completes: str = "step_completed"
    """The types of the events that record how it ended."""
    fails: str = "step_failed"
    waits: WaitKind = "retry"
    """What it is seen to wait for between attempts."""
    skips: int = 0
    """How many leading arguments are not part of the step's identity: the instance, for a method."""


class _Completed(msgspec.Struct):
    result: msgspec.Raw


class _Retrying(msgspec.Struct, rename="camel"):
    attempt: int
    next_at: int


class _Print(msgspec.Struct):
    fingerprint: str = ""


_completed: Final = msgspec.json.Decoder(_Completed).decode
_retrying: Final = msgspec.json.Decoder(_Retrying).decode
_print: Final = msgspec.json.Decoder(_Print).decode
_encode: Final = msgspec.json.Encoder().encode


def delay_before(retry: int, policy: RetryPolicy, *, jitter: float, asked_ms: int | None = None) -> int:
    """Return how many milliseconds to wait before a retry.

    Args:
        retry: The retry about to be made; the first is 1.
        jitter: A number in [0, 1): how much of the policy's jitter, a fraction of the delay, is added.
        asked_ms: What the error's ``retry_after`` asked for; it replaces the computed delay.
    """
    if asked_ms is not None:
        return min(asked_ms, _DELAY_MAX_MS)
    longest = _DELAY_MAX_MS if policy.delay_max_ms is None else policy.delay_max_ms
    try:
        delay = min(policy.delay_ms * policy.backoff ** (retry - 1), longest)
    except OverflowError:
        delay = longest
    return int(min(delay * (1 + policy.jitter * jitter), longest))


async def run_step(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any], undoes: str = "") -> Any:
    """Return the recorded result of a step, or run and record it. Outside of a workflow's branches it just runs.

    One coroutine for the whole of the common case: this is the hottest path of the house. A compensation ``undoes`` the step of
    this identity.

    Raises:
        StepFailed: The last attempt failed, now or when it was recorded.
    """
    branch = branch_here()
    if branch is None:
        return await call(spec.fn, args, kwargs, None)
    execution = branch.execution
    if execution.closed or branch.is_closed:
        return await gone(branch)
    if undoes:
        identity, fingerprint = compensation_key(undoes), ""
        record = execution.history.undone.get(identity)
    else:
        identity = branch.step(spec.name, spec.key)
        fingerprint = codec.fingerprint(args[spec.skips :] if spec.skips else args, kwargs)
        record = execution.history.ask(identity)
    attempt = 1
    if record is not None:
        if not fits(execution, record, fingerprint):
            return await gone(branch)
        if record.outcome is not None:
            branch.now_ms = record.outcome.at_ms
            return await replayed(spec, branch, record.outcome)
    if not undoes and is_past(branch):
        return await past(branch)
    if record is not None:
        if _interrupted(spec, branch, record):
            lost = StepInterrupted(spec.name, type="StepInterrupted", message=_INTERRUPTED, attempts=1, kinds=_INTERRUPTED_KINDS)
            came_from(lost, identity)
            raise lost
        if record.retrying is not None:
            before = _retrying(record.retrying.payload)
            attempt = before.attempt + 1
            await _until(execution, spec, before.next_at)
    tail = f',"fingerprint":"{fingerprint}"' if fingerprint else ""
    if record is None and not undoes and execution.history.is_ahead(branch.path):
        tail += ',"inserted":true'
    host = execution.host
    while True:
        if spec.at_most_once:
            if execution.is_draining:
                await for_ever()  # until the run is handed back, and this task put away with it
            execution.record(NewEvent("step_started", identity, spec.name, f'{{"attempt":{attempt}{tail}}}', execution.time()))
            execution.starting += 1
        try:
            barrier = execution.outbox.barrier()
            if barrier is not None:
                await barrier
            if not (host.may_start() and execution.has_room()) or execution.is_late():
                await execution.until_body_may_start()
        finally:
            if spec.at_most_once:
                execution.started()
        if execution.closed or branch.is_closed:
            return await gone(branch)
        if execution.is_draining and not spec.at_most_once:
            await for_ever()
        if execution.is_past and not undoes:
            return await past(branch)
        scope = StepScope(execution.run_id, identity, spec.name, attempt, execution.now_ms(), tail)
        host.bodies[scope] = execution
        execution.bodies += 1
        token = current.set(scope)
        failure: BaseException | None = None
        result: Any = None
        try:
            if spec.is_plainly_async:
                result = await spec.fn(*args, **kwargs)
            else:
                result = await _limited(spec, scope, args, kwargs, host.threads)
        except BaseException as error:
            if _is_cancelled(error) or execution.tasks.is_thrown_away(error):
                raise
            failure = error
        finally:
            current.reset(token)
            del host.bodies[scope]
            execution.body_ended()
        if execution.closed or branch.is_closed:
            return await gone(branch)
        happened = False
        if failure is None:
            text = "null"
            try:
                text = codec.encode(result, field="result", limit_bytes=host.payload_bytes_max, depth_max=host.depth_max)
            except StepwellError as error:
                if not undoes:  # which has done what it is for, and nobody asks for its result
                    failure, happened = error, True
            if failure is None:
                at_ms = branch.now_ms = execution.time()
                started = scope.started_ms
                payload = (
                    f'{{"result":{text},"attempt":{attempt},"startedAt":{started},'
                    f'"durationMs":{at_ms - started if at_ms > started else 0}{tail}}}'
                )
                if spec.compensate is not None:
                    payload = f'{payload[:-1]},"compensate":true}}'
                    execution.completed(Undo(LIVE, _undo(spec, identity, text)))
                execution.record(NewEvent(spec.completes, identity, spec.name, payload, at_ms), is_step_outcome=True)
                return result if spec.returns is None and type(result) in _SCALARS else _decode(text, spec.returns)
        if isinstance(failure, KeyboardInterrupt | SystemExit):
            host.leave(failure)
            await for_ever()
        # Outside of any `except`, so that what is raised here has no other context live than replayed.
        await _failed(spec, branch, scope, failure, happened=happened)
        attempt += 1


async def _limited(spec: StepSpec, scope: StepScope, args: tuple[Any, ...], kwargs: dict[str, Any], threads: Executor) -> Any:
    """Call the body, in a thread if it is a plain function, and for no longer than the step's time-out."""
    if spec.timeout_ms is None:
        return await call(spec.fn, args, kwargs, threads)
    limit = asyncio.timeout(spec.timeout_ms / 1000)
    try:
        async with limit:
            return await call(spec.fn, args, kwargs, threads)
    except TimeoutError:
        if limit.expired():
            raise StepTimeout(f"attempt {scope.attempt} of step {spec.name!r} took longer than {spec.timeout_ms} ms") from None
        raise


_INTERRUPTED: Final = "its process was lost while the body was under way, and at_most_once steps are not run again"


def _interrupted(spec: StepSpec, branch: Here, record: Record) -> bool:
    """Record that an at-most-once step was under way when its process was lost, if it was."""
    began = record.began
    if not spec.at_most_once or began is None or (record.retrying is not None and record.retrying.seq > began.seq):
        return False
    failure = FailureRecord(type="StepInterrupted", message=_INTERRUPTED, kinds=_INTERRUPTED_KINDS, step=spec.name)
    payload = f'{{"error":{_encode(failure).decode()}}}'
    at_ms = branch.now_ms = branch.execution.time()
    branch.execution.record(NewEvent("step_interrupted", record.identity, spec.name, payload, at_ms), is_step_outcome=True)
    return True


_INTERRUPTED_KINDS: Final = (
    "stepwell.errors.StepInterrupted",
    "stepwell.errors.StepFailed",
    "stepwell.errors.StepwellError",
    "Exception",
)


def fits(execution: Execution, record: Record, fingerprint: str) -> bool:
    """Tell whether what is recorded of a step was asked with the same arguments; if not, the run does not fit its history."""
    event = record.latest
    # What a fork shares with another run may have been asked with other arguments: its input may be another.
    is_own = event is not None and event.seq > execution.history.shared_seq
    before = _print(event.payload).fingerprint if event is not None and is_own else ""
    if event is not None and before and fingerprint and before != fingerprint:
        recorded = f"step {record.identity!r} with other arguments (event {event.seq}, fingerprint {before})"
        asked = f"step {record.identity!r} with the fingerprint {fingerprint}"
        execution.misfit(recorded=recorded, asked=asked, line=user_line())
        return False
    return True


async def replayed(spec: StepSpec, branch: Here, outcome: StoredEvent) -> Any:
    """Return, or raise, what is recorded of a step."""
    try:
        if outcome.type == spec.completes:
            text = bytes(_completed(outcome.payload).result).decode()
            branch.execution.history.compensations.pop(outcome.step_id, None)
            # What a fork shares was done by the other run, and is undone by that one.
            if spec.compensate is not None and outcome.seq > branch.execution.history.shared_seq:
                branch.execution.completed(Undo(outcome.seq, _undo(spec, outcome.step_id, text)))
            return _decode(text, spec.returns)
        failure = recorded_failure(outcome.payload)
    except msgspec.MsgspecError as error:
        branch.execution.unreadable(outcome, error)
        return await gone(branch)
    failed = failure.as_step_failed(StepInterrupted if outcome.type == "step_interrupted" else StepFailed)
    came_from(failed, outcome.step_id)
    raise failed


def _decode(text: str, kind: Any) -> Any:
    if kind is None:
        return codec.decode(text)
    try:
        return codec.decode(text, kind)
    except ValidationError:
        # The annotation does not say what the function returns; live and replayed alike, the plain value is the result then.
        return codec.decode(text)


async def _until(execution: Execution, spec: StepSpec, due_ms: int) -> None:
    if due_ms > execution.now_ms():
        await Wait(execution, spec.waits, spec.name, due_ms=due_ms).over()


def _undo(spec: StepSpec, identity: str, text: str) -> Callable[[], Awaitable[None]]:
    return partial(_compensate, spec, identity, text)


async def _compensate(spec: StepSpec, identity: str, text: str) -> None:
    """Undo a completed step. What fails for good is recorded, and does not keep the others from being undone."""
    assert spec.compensate is not None
    try:
        await run_step(spec.compensate, (_decode(text, spec.returns),), {}, undoes=identity)
    except StepFailed as error:
        _log.warning("the compensation of step %r has failed: %s", identity, error)


def _is_cancelled(error: BaseException) -> bool:
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def _failed(spec: StepSpec, branch: Here, scope: StepScope, error: BaseException, *, happened: bool) -> None:
    """Record a failed attempt. Returns when it is time for the next.

    Raises:
        StepFailed: It was the last.
    """
    execution, attempt, policy = branch.execution, scope.attempt, spec.policy
    record = describe(error, remark=_HAPPENED if happened else "")
    record = msgspec.structs.replace(record, step=spec.name, attempts=attempt)
    may_retry = isinstance(error, policy.retry_on) and not isinstance(error, NonRetryableError) and not happened
    took = max(0, execution.now_ms() - scope.started_ms)
    rest = f'"attempt":{attempt},"startedAt":{scope.started_ms},"durationMs":{took}{scope.tail}'
    if may_retry and attempt <= policy.retries:
        at_ms = branch.now_ms = execution.time()
        due_ms = at_ms + delay_before(attempt, policy, jitter=random.random(), asked_ms=_retry_after(error))  # noqa: S311
        payload = f'{{"error":{_encode(record).decode()},"nextAt":{due_ms},{rest}}}'
        execution.record(NewEvent("step_retrying", scope.step_id, spec.name, payload, at_ms))
        await _until(execution, spec, due_ms)
        return None
    if spec.on_error is not None and isinstance(error, Exception):
        await _tell(spec.on_error, error, spec.name)
        if execution.closed or branch.is_closed:
            return await gone(branch)
    at_ms = branch.now_ms = execution.time()
    payload = f'{{"error":{_encode(record).decode()},{rest}}}'
    execution.record(NewEvent(spec.fails, scope.step_id, spec.name, payload, at_ms), is_step_outcome=True)
    failed = record.as_step_failed()
    came_from(failed, scope.step_id)
    raise failed


async def _tell(on_error: Callable[[Exception], Any], error: Exception, name: str) -> None:
    try:
        told = on_error(error)
        if inspect.isawaitable(told):
            await told
    except Exception:
        _log.exception("on_error of step %r raised; the step's own error stands", name)


def _retry_after(error: BaseException) -> int | None:
    try:
        asked = getattr(error, "retry_after", None)
        return None if asked is None else parse_ms(asked, bare="s", field="retry_after")
    except Exception as unclear:  # a property of the user's may raise anything
        _log.warning("retry_after of %s is not used: %s", type(error).__name__, unclear)
        return None
