"""Durable sleeps, and waits for signals, hooks and other runs, as a workflow calls them."""

from collections.abc import Callable
from typing import Literal

from stepwell import codec
from stepwell.errors import HookExpired, SignalTimeout
from stepwell.execution.executor import Here
from stepwell.execution.here import gone, is_past, past
from stepwell.execution.history import Answer, Signal
from stepwell.execution.rest import Wait
from stepwell.progress import NewEvent, StoredEvent


async def sleep_until(branch: Here, due_ms: int | None, duration_ms: int = 0) -> None:
    """Sleep until a time, or for a duration from now on. What is over already is not recorded."""
    execution = branch.execution
    if execution.closed or branch.is_closed:
        return await gone(branch)
    identity = branch.operation("sleep")
    record = execution.history.ask(identity)
    if record is not None and record.outcome is not None:
        branch.now_ms = record.outcome.at_ms
        return None
    if record is not None and record.began is not None:
        until = codec.decode(record.began.payload)["until"]
    else:
        now = execution.time()
        until = now + duration_ms if due_ms is None else due_ms
        if until <= now:
            return None
        if is_past(branch):
            return await past(branch)
        execution.record(NewEvent("sleep_started", identity, "", _until(branch, until), now))
    if is_past(branch):
        return await past(branch)
    if until > execution.now_ms():
        await Wait(execution, "sleep", due_ms=until).over()
    if execution.closed or branch.is_closed:
        return await gone(branch)
    branch.now_ms = execution.time()
    execution.record(NewEvent("sleep_completed", identity, "", f'{{"until":{until}}}', branch.now_ms))
    return None


async def wait_for_signal(branch: Here, name: str, timeout_ms: int | None) -> str:
    """Return the payload, a JSON text, of the next signal of this name.

    Raises:
        SignalTimeout: None was stored in time.
    """
    execution = branch.execution
    if execution.closed or branch.is_closed:
        await gone(branch)
        return "null"
    identity = branch.operation("signal", name)
    record = execution.history.ask(identity)
    outcome = record.outcome if record is not None else None
    if outcome is not None:
        branch.now_ms = outcome.at_ms
        return _recorded(branch, name, outcome)
    if is_past(branch) and (execution.is_branched or not execution.history.has_signal(name)):
        await past(branch)
        return "null"
    due_ms = None
    if record is not None and record.began is not None:
        due_ms = int(codec.decode(record.began.payload)["until"])
    elif timeout_ms is not None and not execution.history.has_signal(name):
        now = execution.time()
        due_ms = now + timeout_ms
        execution.record(NewEvent("sleep_started", identity, name, _until(branch, due_ms), now))
    while True:
        if execution.closed or branch.is_closed:
            await gone(branch)
            return "null"
        signal = execution.history.take_signal(name)
        if signal is not None:
            break
        wait = Wait(execution, "signal", name, due_ms=due_ms, timeout_id=identity)
        woken = False
        try:
            woken = await wait.over()
        finally:
            # A branch that is cancelled after it was woken passes the signal on to the next that waits for one.
            if not woken and execution.history.has_signal(name) and not execution.closed:
                execution.inbox.signalled(name)
        if not woken:
            branch.now_ms = wait.timed_out_ms
            raise _timed_out(name)
    branch.now_ms = max(branch.now_ms, signal.at_ms)
    if execution.is_branched:
        payload = f'{{"signal":{signal.mailbox_seq}}}'
        branch.now_ms = execution.time()
        execution.record(NewEvent("race_won", identity, name, payload, branch.now_ms))
    return signal.payload


class TimedOut(Exception):
    """Nothing came in time. Callers turn it into what their users know."""

    def __init__(self, *, is_expired: bool) -> None:
        super().__init__()
        self.is_expired = is_expired


async def wait_for_run(branch: Here, run_id: str, timeout_ms: int | None) -> Answer:
    """Wait until another run is over: its status and the payload of its final event, as ``{"status", "final"}``.

    Raises:
        TimedOut: It is not over in time.
    """
    execution = branch.execution

    def begin(identity: str, due_ms: int | None) -> None:
        inserted = ',"inserted":true' if execution.history.is_ahead(branch.path) else ""
        payload = f'{{"runId":{codec.encode(run_id, field="run_id")},"until":{"null" if due_ms is None else due_ms}{inserted}}}'
        execution.outbox.awaits += (run_id,)
        execution.record(NewEvent("child_started", identity, run_id, payload, execution.time()))

    return await wait_for_answer(branch, "child", ("run", run_id), timeout_ms=timeout_ms, begin=begin)


async def wait_for_hook(branch: Here, hook_id: str, expires_ms: int, timeout_ms: int | None) -> str:
    """Return the answer, a JSON text, of a hook of this run.

    Raises:
        TimedOut: None came within the time-out. HookExpired: the hook expired first.
    """
    execution = branch.execution
    shown = execution.history.hook_names.get(hook_id, hook_id)

    def begin(identity: str, due_ms: int | None) -> None:
        execution.record(NewEvent("sleep_started", identity, shown, _until(branch, due_ms or expires_ms), execution.time()))

    try:
        answer = await wait_for_answer(
            branch, "hook", ("hook", hook_id), timeout_ms=timeout_ms, expires_ms=expires_ms, begin=begin, shown=shown
        )  # fmt: skip
    except TimedOut as late:
        if late.is_expired:
            raise HookExpired(f"hook {shown!r} has expired, and nobody had answered it") from None
        raise
    return answer.payload


async def wait_for_answer(
    branch: Here, kind: Literal["hook", "child"], answer: tuple[str, str], *, timeout_ms: int | None,
    begin: Callable[[str, int | None], None], shown: str = "", expires_ms: int | None = None,
) -> Answer:  # fmt: skip
    """Wait for the message of this kind and name, which any number of waits may read.

    Args:
        begin: Records the beginning of the wait, with its ``until`` (ms or null), under the identity that it is given.
        shown: What ``waiting_for`` names (the message's name).
        expires_ms: From when on nothing can come any more.

    Raises:
        TimedOut: Nothing did.
    """
    execution, name = branch.execution, answer[1]
    if execution.closed or branch.is_closed:
        await gone(branch)
        return Answer("{}", 0)
    identity = branch.operation(kind, name)
    record = execution.history.ask(identity)
    if record is not None and record.outcome is not None:
        branch.now_ms = record.outcome.at_ms
        raise TimedOut(is_expired=record.outcome.type == "hook_expired")
    if is_past(branch) and answer not in execution.history.answers:
        await past(branch)
        return Answer("{}", 0)
    due_ms: int | None = None
    if record is not None and record.began is not None:
        due_ms = codec.decode(record.began.payload)["until"]
    elif answer not in execution.history.answers:
        due_ms = None if timeout_ms is None else execution.time() + timeout_ms
        if expires_ms is not None and (due_ms is None or expires_ms < due_ms):
            due_ms = expires_ms
        begin(identity, due_ms)
    while answer not in execution.history.answers:
        wait = Wait(
            execution, kind, shown or name, due_ms=due_ms, timeout_id="" if due_ms is None else identity,
            timeout_type="hook_expired" if due_ms is not None and due_ms == expires_ms else "signal_timed_out", answer=answer,
        )  # fmt: skip
        woken = await wait.over()
        if execution.closed or branch.is_closed:
            await gone(branch)
            return Answer("{}", 0)
        if not woken:
            branch.now_ms = wait.timed_out_ms
            raise TimedOut(is_expired=wait.timeout_type == "hook_expired")
    found = execution.history.answers[answer]
    branch.now_ms = max(branch.now_ms, found.at_ms)
    return found


def _recorded(branch: Here, name: str, outcome: StoredEvent) -> str:
    if outcome.type == "signal_timed_out":
        raise _timed_out(name)
    signal: Signal | None = branch.execution.history.take_recorded_signal(name, outcome)
    assert signal is not None, "a signal that a wait is recorded to have taken is in the history"
    return signal.payload


def _timed_out(name: str) -> SignalTimeout:
    return SignalTimeout(f"no signal {name!r} arrived in time", name=name)


def _until(branch: Here, until_ms: int) -> str:
    inserted = ',"inserted":true' if branch.execution.history.is_ahead(branch.path) else ""
    return f'{{"until":{until_ms}{inserted}}}'
