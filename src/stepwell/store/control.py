"""What somebody outside does to a run, whoever owns it, and what its deadline does to it: the rules, without a database."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stepwell.errors import ExecutionTimeoutError, qualified_name
from stepwell.progress import NewEvent
from stepwell.store.base import (
    CANCELLED,
    FAILED,
    OVER_FROM,
    PAUSED,
    PENDING,
    RUNNING,
    Amend,
    Cancel,
    Cancelled,
    Pause,
    Put,
    Resume,
    Retry,
    Stored,
    Update,
)
from stepwell.store.drafts import (
    MOVED,
    UNDOING,
    WANT_CANCEL,
    WANT_FAIL,
    WANT_PAUSE,
    Draft,
    Page,
    finish,
    let_go,
    note,
    pause_now,
    put,
    to_text,
)

_reason: Final = msgspec.json.Decoder(dict[str, Any]).decode


def cancel(page: Page, request: Cancel, children: Sequence[str] = ()) -> Cancelled:
    """End a run as cancelled, whoever owns it; one with compensations when they have run, and these ``children`` are over."""
    run = page.runs.get(request.run_id)
    if run is None:
        return Cancelled("missing")
    if run.status >= OVER_FROM:
        return Cancelled("over")
    if run.wanted & UNDOING:
        return Cancelled("undoing", run.owner)
    owner = run.owner
    if run.undo == 0:
        finish(page, run, CANCELLED, NewEvent("run_cancelled", "", "", request.payload, request.at_ms))
        return Cancelled("cancelled", owner)
    payload = to_text({**_reason(request.payload), "children": list(children)})
    _undo(page, run, WANT_CANCEL, Put(
        run_id=run.run_id, kind="cancel", name="", message_id="cancel", payload=payload, at_ms=request.at_ms
    ))  # fmt: skip
    return Cancelled("asked", owner)


def _undo(page: Page, run: Draft, wanted: int, message: Put) -> None:
    """Have a run's compensations run: who owns it is told, who claims it finds the message. A paused one goes on for that."""
    # A pause that its owner has not done yet would keep the run from it.
    run.wanted = wanted
    run.deadline = run.waiting_for = None
    run.changed = MOVED
    if run.status == PAUSED:
        run.status = RUNNING
        run.streak = run.tries = 0
    put(page, message)
    page.mailed.append(run.run_id)


def expire(page: Page, run: Draft, at_ms: int) -> bool:
    """Fail a run whose deadline has passed. Tell whether it is over: one with compensations is taken from its owner, who has
    not noticed, and is due.
    """
    kinds = [qualified_name(kind) for kind in ExecutionTimeoutError.__mro__ if issubclass(kind, BaseException)]
    error = {
        "type": kinds[0],
        "message": f"execution timeout of {run.timeout_ms} ms is over",
        "kinds": kinds,
        "step": None,
        "attempts": 1,
        "traceback": None,
    }
    payload = to_text({"error": error})
    if run.undo == 0:
        finish(page, run, FAILED, NewEvent("run_failed", "", "", payload, at_ms))
        return True
    if run.owner is not None:
        let_go(run, wake_at=at_ms, waiting_for=None)
    _undo(page, run, WANT_FAIL, Put(
        run_id=run.run_id, kind="fail", name="", message_id=f"fail/{run.attempt}", payload=payload, at_ms=at_ms
    ))  # fmt: skip
    return False


def pause(page: Page, request: Pause) -> Stored:
    """Pause a run now if nobody owns it, else as soon as its owner lets go of it."""
    run = page.runs.get(request.run_id)
    if run is None:
        return Stored("missing")
    if run.status >= OVER_FROM:
        return Stored("over", run.seq)
    if run.status != PAUSED and run.owner is None:
        pause_now(page, run, request.reason, request.at_ms)
    elif run.status != PAUSED and not run.wanted & WANT_PAUSE:
        run.wanted |= WANT_PAUSE
        message_id = f"pause/{run.mailbox_seq + 1}"
        put(
            page, Put(run_id=run.run_id, kind="pause", name="", message_id=message_id, payload="{}", at_ms=request.at_ms)
        )  # fmt: skip
        page.mailed.append(run.run_id)
    return Stored("stored", run.seq, run.owner)


def resume(page: Page, request: Resume) -> Stored:
    """Make a paused run due, or take back that it was to be paused. What it was paused for is forgotten."""
    run = page.runs.get(request.run_id)
    if run is None:
        return Stored("missing")
    if run.wanted & WANT_PAUSE:
        run.wanted &= ~WANT_PAUSE
        run.changed = MOVED
        return Stored("stored", run.seq, run.owner)
    if run.status != PAUSED:
        return Stored("not_paused", run.seq, run.owner)
    note(page, run, NewEvent("run_resumed", "", "", request.payload, request.at_ms))
    run.status = PENDING if run.started_at is None else RUNNING
    run.streak = run.tries = 0
    run.wake_at = page.now_ms
    run.waiting_for = None
    run.changed = MOVED
    return Stored("stored", run.seq)


def retry(page: Page, request: Retry) -> Stored:
    """Let a failed run go on from what it had recorded. Its deadline begins anew when it is taken."""
    run = page.runs.get(request.run_id)
    if run is None:
        return Stored("missing")
    if run.status != FAILED:
        return Stored("not_failed", run.seq)
    if run.wanted & UNDOING:
        return Stored("compensated", run.seq)
    if run.seq != request.seq:
        return Stored("moved", run.seq)
    # Room for run_resumed, for one event more, and for the final one.
    if run.seq + 3 > run.max_events:
        return Stored("limit", run.seq)
    page.append(run, NewEvent("run_resumed", "", "", request.payload, request.at_ms))
    run.status = RUNNING
    run.turn += 1
    run.attempt += 1
    run.streak = run.tries = 0
    run.deadline = None
    run.completed_at = None
    run.wake_at = page.now_ms
    run.waiting_for = None
    run.changed = MOVED
    for other in request.along:
        retry(page, other)
    return Stored("stored", run.seq)


def update(page: Page, request: Update) -> Stored:
    """Change what a run is called and how far it may go. What no draft has is left to the caller to write."""
    run = page.runs.get(request.run_id)
    if run is None:
        return Stored("missing")
    limits = (request.max_events, request.timeout_ms)
    if (request.priority, *limits) != (None, None, None):
        if run.status >= OVER_FROM:
            return Stored("over", run.seq)
        if run.wanted & UNDOING:
            return Stored("undoing", run.seq)
    # Room for the final event, and for run_started where it is still to come.
    if request.max_events is not None and request.max_events < run.seq + (2 if run.status == PENDING else 1):
        return Stored("limit", run.seq)
    if request.max_events is not None:
        run.max_events = request.max_events
    if request.timeout_ms is not None:
        run.deadline = _new_deadline(run, request.timeout_ms, request.at_ms)
        run.timeout_ms = request.timeout_ms
        run.changed = MOVED
    if run.owner is not None and limits != (None, None):
        payload = to_text({"maxEvents": run.max_events, "deadline": run.deadline})
        message_id = f"limits/{run.mailbox_seq + 1}"
        put(
            page, Put(run_id=run.run_id, kind="limits", name="", message_id=message_id, payload=payload, at_ms=request.at_ms)
        )  # fmt: skip
        page.mailed.append(run.run_id)
    return Stored("stored", run.seq, run.owner)


def _new_deadline(run: Draft, timeout_ms: int, at_ms: int) -> int | None:
    """Return the deadline with another time-out: it counts from where the old one did, else from the start of the run."""
    if run.deadline is not None and run.timeout_ms is not None:
        return run.deadline - run.timeout_ms + timeout_ms
    if run.started_at is None or run.timeout_ms is not None:
        return None  # it has not begun to count: that is when somebody takes the run
    return (run.started_at if run.attempt == 1 else at_ms) + timeout_ms


def amend(page: Page, request: Amend) -> Stored:
    """Append an event to the history of a paused run."""
    run = page.runs.get(request.run_id)
    if run is None:
        return Stored("missing")
    if run.status != PAUSED:
        return Stored("not_paused", run.seq, run.owner)
    if run.seq != request.seq:
        return Stored("moved", run.seq)
    if run.seq + 2 > run.max_events and not run.wanted & UNDOING:
        return Stored("limit", run.seq)
    page.append(run, request.event)
    return Stored("stored", run.seq)
