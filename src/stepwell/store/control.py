"""What somebody outside does to a run, whoever owns it: pause, resume, retry, amend. The rules, without a database."""

from stepwell.progress import NewEvent
from stepwell.store.base import FAILED, OVER_FROM, PAUSED, PENDING, RUNNING, Amend, Pause, Put, Resume, Retry, Stored
from stepwell.store.drafts import MOVED, WANT_NOTHING, WANT_PAUSE, Page, note, pause_now, put


def pause(page: Page, request: Pause) -> Stored:
    """Pause a run now if nobody owns it, else as soon as its owner lets go of it."""
    run = page.runs.get(request.run_id)
    if run is None:
        return Stored("missing")
    if run.status >= OVER_FROM:
        return Stored("over", run.seq)
    if run.status != PAUSED and run.owner is None:
        pause_now(page, run, request.reason, request.at_ms)
    elif run.status != PAUSED and run.wanted == WANT_NOTHING:
        run.wanted = WANT_PAUSE
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
    if run.wanted == WANT_PAUSE:
        run.wanted = WANT_NOTHING
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
    return Stored("stored", run.seq)


def amend(page: Page, request: Amend) -> Stored:
    """Append an event to the history of a paused run."""
    run = page.runs.get(request.run_id)
    if run is None:
        return Stored("missing")
    if run.status != PAUSED:
        return Stored("not_paused", run.seq, run.owner)
    if run.seq != request.seq:
        return Stored("moved", run.seq)
    if run.seq + 2 > run.max_events:
        return Stored("limit", run.seq)
    page.append(run, request.event)
    return Stored("stored", run.seq)
