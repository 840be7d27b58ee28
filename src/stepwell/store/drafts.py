"""What operations do to runs: the rules of the store, without a database.

A store reads the rows that a batch touches (locked), lets these functions change them in memory, and writes each changed row
once. Nothing here waits or fails: an operation that may not be done says so, and leaves its run as it was.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from stepwell.model import EVENT_TYPES
from stepwell.progress import NewEvent, Outcome, Progress, Recorded, Refused
from stepwell.store.base import (
    CANCELLED,
    FAILED,
    OVER_FROM,
    PAUSED,
    PENDING,
    RUNNING,
    Emit,
    HookRow,
    Put,
    RunRow,
    Stored,
)

WANT_CANCEL: Final = 1
WANT_PAUSE: Final = 2
WANT_FAIL: Final = 4
UNDOING: Final = WANT_CANCEL | WANT_FAIL
"""What becomes of the run is decided, and its compensations are to run before."""
ASKED: Final = "somebody asked for it"

UNTOUCHED: Final = 0
ADVANCED: Final = 1
"""Only ``seq`` and ``waiting_for`` have changed, which no index of claimable runs knows."""
MOVED: Final = 2

EVENT_ID_PREFIX: Final = "event:"

_to_json = msgspec.json.Encoder()


class Draft(msgspec.Struct, array_like=True, gc=False):
    """What a batch reads and changes of a run's row."""

    run_id: str
    status: int
    owner: str | None
    turn: int
    attempt: int
    interruptions: int
    streak: int
    tries: int
    wanted: int
    undo: int
    seq: int
    mailbox_seq: int
    mailbox_consumed: int
    wake_at: int | None
    deadline: int | None
    timeout_ms: int | None
    waiting_for: str | None
    max_events: int
    started_at: int | None
    completed_at: int | None
    changed: int = UNTOUCHED
    refused: Refused | None = None
    """What a progress of this batch was told; later ones of the same run are told the same."""


def of_row(row: RunRow) -> Draft:
    """Return the draft of a run that was added just now."""
    return Draft(
        row.run_id, row.status, row.owner, row.turn, row.attempt, row.interruptions, row.streak, row.tries, row.wanted, row.undo,
        row.seq, row.mailbox_seq, row.mailbox_consumed, row.wake_at, row.deadline, row.timeout_ms, row.waiting_for,
        row.max_events, row.started_at, row.completed_at,
    )  # fmt: skip


class EventRow(NamedTuple):
    """A row of ``events``. Where thousands are made a plain tuple does: it costs a third."""

    run_id: str
    seq: int
    type: str
    step_id: str
    name: str
    payload: str
    at: int


class MessageRow(NamedTuple):
    """A row of ``messages``."""

    run_id: str
    mailbox_seq: int
    kind: str
    name: str
    message_id: str
    payload: str
    at: int


class Page:
    """The runs that a batch touches, and what it adds to their histories and mailboxes."""

    def __init__(self, *, node_id: str, now_ms: int, messages_max: int, record_bytes_max: int = 1024 * 1024) -> None:
        self.node_id: Final = node_id
        self.now_ms: Final = now_ms
        self.messages_max: Final = messages_max
        self.record_bytes_max: Final = record_bytes_max
        self.runs: dict[str, Draft] = {}
        self.events: list[tuple[str | int, ...]] = []
        """``EventRow`` without the names."""
        self.messages: list[MessageRow] = []
        self.known_messages: dict[tuple[str, str, str], int] = {}
        """``mailbox_seq`` by run, kind and message id: those that are being put and are there."""
        self.known_events: dict[tuple[str, str], int] = {}
        """``seq`` by run and step id: those that are being emitted and are there."""
        self.mail: dict[tuple[str, int], str] = {}
        """Message ids by run and ``mailbox_seq``: those that are being transcribed."""
        self.copies: list[tuple[str, str, int, int]] = []
        """``(run_id, source, after, upto)``: events that a fork has of another run."""
        self.waits: list[tuple[str, str]] = []
        """``(run_id, waiter)``: runs that have begun to wait for others."""
        self.ended: dict[str, NewEvent] = {}
        """The final events of runs that ended in this batch."""
        self.mailed: list[str] = []
        """Runs that were sent a message which none of the operations is about."""
        self.hooks: dict[tuple[str, str], HookRow] = {}
        """By run and id: those that are asked for and are there."""
        self.changed_hooks: list[HookRow] = []
        self.ended_besides: list[str] = []
        """Runs that ended along with others."""

    def keep_messages(self, found: Sequence[tuple[str, str, str, int]]) -> None:
        """Note which messages are there: run, kind, message id, ``mailbox_seq``."""
        for run_id, kind, message_id, seq in found:
            self.known_messages[run_id, kind, message_id] = seq

    def append(self, run: Draft, event: NewEvent) -> None:
        """Give an event the next number of its run."""
        run.seq += 1
        self.events.append((run.run_id, run.seq, *event))
        if run.changed == UNTOUCHED:
            run.changed = ADVANCED


def refusal(page: Page, progress: Progress) -> Refused | None:
    """Return why nothing of a progress is done, None if all of it is."""
    run = page.runs.get(progress.run_id)
    if run is None:
        return Refused("guard", 0)
    if run.refused is None:
        run.refused = _refusal(page, run, progress)
    return run.refused


def record(page: Page, progress: Progress) -> Outcome:
    """Do all of a progress, or nothing."""
    refused = refusal(page, progress)
    if refused is not None:
        return refused
    run = page.runs[progress.run_id]
    for event in progress.events:
        page.append(run, event)
    if progress.undoing is not None and not run.wanted & UNDOING:
        page.append(run, progress.undoing)
        run.wanted |= WANT_FAIL
        run.deadline = None
        run.changed = MOVED
        begins = True
    else:
        begins = progress.undoing is None
    if progress.consumed:
        run.mailbox_consumed = progress.mailbox_consumed
        run.changed = MOVED
    if run.streak and progress.has_outcome:
        run.streak = 0
        run.changed = MOVED
    if run.tries or progress.misfit:
        run.tries = run.tries + 1 if progress.misfit else 0
        run.changed = MOVED

    if progress.undo:
        run.undo += progress.undo
        run.changed = MOVED
    for target in progress.awaits:
        page.waits.append((target, run.run_id))

    suspend, final, quiet = progress.suspend, progress.final, progress.quiet
    is_quiet = run.mailbox_seq == run.mailbox_consumed and not run.wanted & WANT_PAUSE
    if quiet and is_quiet:
        for event in quiet:
            page.append(run, event)
    ends = final is None or _may_end(run, final.status)
    if final is not None:
        if ends:
            finish(page, run, final.status, final.event)
    elif suspend is not None and (is_quiet or progress.misfit):
        let_go(run, wake_at=suspend.wake_at_ms, waiting_for=suspend.text)
    elif progress.release:
        is_too_often = bool(progress.lost) and _interrupted(run, progress.lost)
        let_go(run, wake_at=page.now_ms, waiting_for=None)
        if is_too_often and not run.wanted & WANT_PAUSE:
            pause_now(page, run, f"its worker was lost {run.streak} times without a new step", page.now_ms)
    elif progress.waiting is not None:
        run.waiting_for = progress.waiting.text
        run.changed = run.changed or ADVANCED
    elif progress.events or progress.undoing or (quiet and is_quiet):
        run.waiting_for = None
    if run.wanted & WANT_PAUSE and run.owner is None and run.status == RUNNING:
        pause_now(page, run, ASKED, page.now_ms)
    is_done = ends and begins and (is_quiet or progress.misfit or not (quiet or suspend))
    return Recorded(run.seq, run.mailbox_seq, is_done, _asked(run))


def _asked(run: Draft) -> Literal["", "pause", "end"]:
    if run.wanted & WANT_PAUSE:
        return "pause"
    return "end" if run.wanted & UNDOING else ""


def _may_end(run: Draft, status: int) -> bool:
    """Tell whether a run may end so: an owner who has not heard yet that it is to be undone must hear of it first."""
    if run.wanted & WANT_CANCEL:
        return status == CANCELLED
    return status == FAILED or not run.wanted & WANT_FAIL


def _refusal(page: Page, run: Draft, progress: Progress) -> Refused | None:
    if run.owner != page.node_id or run.turn != progress.turn or run.status != RUNNING:
        return Refused("guard", run.seq)
    # Event number max_events is always a final one: a progress without a final leaves room for it. What compensations record
    # does not count, so a run that is being undone may be past it.
    beyond = progress.beyond if run.wanted & UNDOING or progress.undoing is not None else 0
    counted = len(progress.events) - beyond + len(progress.quiet)
    if counted and run.seq + counted + 1 > run.max_events:
        return Refused("limit", run.seq)
    expected = run.mailbox_consumed
    for mailbox_seq, message_id in progress.consumed:
        expected += 1
        if mailbox_seq != expected or page.mail.get((run.run_id, mailbox_seq)) != message_id:
            return Refused("message", run.seq)
    return None if not progress.consumed or expected == progress.mailbox_consumed else Refused("message", run.seq)


def put(page: Page, message: Put) -> Stored:
    """Put a message into a mailbox. A run that nobody owns and that has started is due at once."""
    run = page.runs.get(message.run_id)
    if run is None:
        return Stored("missing")
    key = (message.run_id, message.kind, message.message_id)
    if key in page.known_messages:
        return Stored("duplicate", page.known_messages[key], run.owner)
    if run.status >= OVER_FROM or (message.kind == "signal" and run.wanted & UNDOING):
        return Stored("over", run.mailbox_seq)
    if message.kind == "signal" and run.mailbox_seq - run.mailbox_consumed >= page.messages_max:
        return Stored("full", run.mailbox_seq, run.owner)
    run.mailbox_seq += 1
    run.changed = MOVED
    if run.status == RUNNING and run.owner is None:
        run.wake_at = page.now_ms if run.wake_at is None else min(run.wake_at, page.now_ms)
    page.known_messages[key] = run.mailbox_seq
    page.mail[run.run_id, run.mailbox_seq] = message.message_id
    page.messages.append(
        MessageRow(run.run_id, run.mailbox_seq, message.kind, message.name, message.message_id, message.payload, message.at_ms)
    )
    return Stored("stored", run.mailbox_seq, run.owner)


def emit(page: Page, event: Emit) -> Stored:
    """Append a user's event, whoever owns the run."""
    run = page.runs.get(event.run_id)
    if run is None:
        return Stored("missing")
    step_id = EVENT_ID_PREFIX + event.event_id
    if (event.run_id, step_id) in page.known_events:
        return Stored("duplicate", page.known_events[event.run_id, step_id], run.owner)
    if run.status >= OVER_FROM:
        return Stored("over", run.seq)
    # Room is left for the final event, and for run_started where it is still to come.
    if run.seq + 1 + (2 if run.status == PENDING else 1) > run.max_events:
        return Stored("limit", run.seq, run.owner)
    page.append(run, NewEvent(event.event_type, step_id, "", event.payload, event.at_ms))
    page.known_events[event.run_id, step_id] = run.seq
    return Stored("stored", run.seq, run.owner)


def status_for_children(run: Draft) -> int:
    """Return the status of a run as a new child of it sees it: one that is being cancelled has none any more."""
    return CANCELLED if run.wanted & WANT_CANCEL else run.status


def is_from_outside(event_type: str) -> bool:
    """Tell an event that a user emitted from one of a step whose name only looks like it."""
    return event_type not in EVENT_TYPES


def is_due(run: Draft, at_ms: int) -> bool:
    """Tell whether somebody may take a run now."""
    return run.owner is None and run.status in (PENDING, RUNNING) and run.wake_at is not None and run.wake_at <= at_ms


def take(page: Page, run: Draft, at_ms: int) -> None:
    """Make this node the owner of a due run; start it if it is new."""
    run.owner = page.node_id
    run.turn += 1
    run.wake_at = None
    # From here on it executes: a node that dies before it has recorded anything more counts as an interruption.
    run.waiting_for = None
    run.changed = MOVED
    if run.timeout_ms is not None and run.deadline is None and not run.wanted & UNDOING:
        run.deadline = at_ms + run.timeout_ms
    if run.status == PENDING:
        run.status = RUNNING
        run.started_at = at_ms
        page.append(run, started(run.attempt, at_ms))


def started(attempt: int, at_ms: int) -> NewEvent:
    """Return the event of a run's start."""
    return NewEvent("run_started", "", "", f'{{"attempt": {attempt}}}', at_ms)


def free(page: Page, run: Draft, *, pause_at: int, at_ms: int) -> bool:
    """Take a run from a dead owner; tell whether it has lost so many that it must be paused, which is left to ``pause``."""
    is_too_often = _interrupted(run, pause_at)
    run.owner = None
    run.turn += 1
    run.wake_at = at_ms
    run.changed = MOVED
    if run.wanted & WANT_PAUSE:
        pause_now(page, run, ASKED, at_ms)
        return False
    return is_too_often


def _interrupted(run: Draft, pause_at: int) -> bool:
    """Count that a run has lost its worker, if it was executing; tell whether that is once too often."""
    if run.waiting_for is not None:
        return False
    run.interruptions += 1
    run.streak += 1
    return run.streak >= pause_at


def pause_now(page: Page, run: Draft, reason: str, at_ms: int) -> None:
    """Pause a run that nobody owns, until somebody resumes it."""
    run.wanted &= ~WANT_PAUSE
    note(page, run, NewEvent("run_paused", "", "", to_text({"reason": reason}), at_ms))
    run.status = PAUSED
    run.wake_at = None
    run.waiting_for = to_text({"kind": "paused", "name": reason})
    run.changed = MOVED


def finish(page: Page, run: Draft, status: int, event: NewEvent) -> None:
    """End a run."""
    page.append(run, event)
    page.ended[run.run_id] = event
    let_go(run, wake_at=None, waiting_for=None)
    run.status = status
    run.completed_at = event.at_ms
    run.deadline = None
    run.wanted &= UNDOING  # kept: it tells that compensations have run


def let_go(run: Draft, *, wake_at: int | None, waiting_for: str | None) -> None:
    """Take a run from its owner."""
    run.owner = None
    run.turn += 1
    run.wake_at = wake_at
    run.waiting_for = waiting_for
    run.changed = MOVED


def note(page: Page, run: Draft, event: NewEvent) -> None:
    """Append what nobody depends on: a history that is full to the last place goes without it."""
    room = 2 if run.started_at is None else 1
    if run.seq + 1 + room <= run.max_events:
        page.append(run, event)


def to_text(value: object) -> str:
    """Return a value as JSON."""
    return _to_json.encode(value).decode()
