"""What a batch has changed in memory, as rows to be written."""

from typing import Final

from stepwell.store import drafts
from stepwell.store.base import HookRow
from stepwell.store.drafts import Draft, EventRow, MessageRow, Page
from stepwell.store.plans import Request, Row, Table, Write

_EVENTS: Final = Table("insert_events", EventRow._fields)
_MESSAGES: Final = Table("insert_messages", MessageRow._fields)
_HOOKS: Final = Table("write_hooks", HookRow._fields)
_ADVANCED: Final = Table("advance_runs", ("run_id", "seq", "waiting_for"))
_MOVED: Final = Table("move_runs", (
    "run_id", "status", "owner", "turn", "attempt", "interruptions", "streak", "tries", "wanted", "undo", "seq", "mailbox_seq",
    "mailbox_consumed", "wake_at", "deadline", "waiting_for", "started_at", "completed_at",
))  # fmt: skip
_RECALLED: Final = Table(
    "write_recalled", ("run_id", "seq", "waiting_for", "turn", "seq", "mailbox_seq", "wanted"), is_counted=True
)


def page_writes(page: Page, were: dict[str, tuple[int, int, int, int]]) -> tuple[list[Request], int]:
    """Return what is to be written, and how many runs the first of it must find as they ``were``: those that nobody has locked.

    Runs count as unchanged from here on, and as locked.
    """
    advanced: list[Row] = []
    moved: list[Row] = []
    recalled: list[Row] = []
    for run in page.runs.values():
        if run.changed == drafts.UNTOUCHED:
            continue
        grown = (run.run_id, run.seq, run.waiting_for)
        was = were.pop(run.run_id, None) if were else None
        if was is not None:
            recalled.append((*grown, *was, *(_moved(run) if run.changed == drafts.MOVED else ())))
        elif run.changed == drafts.MOVED:
            moved.append(_moved(run))
        else:
            advanced.append(grown)
        run.changed = drafts.UNTOUCHED
    recalled.sort(key=lambda row: str(row[0]))
    hooks = list({hook[:2]: hook for hook in page.changed_hooks}.values())
    writes = [
        Write(_RECALLED, recalled, (page.now_ms,)),
        Write(_ADVANCED, advanced, (page.now_ms,)),
        Write(_MOVED, moved, (page.now_ms,)),
        Write(_EVENTS, page.events),
        Write(_MESSAGES, page.messages),
        Write(_HOOKS, hooks),
    ]
    return [write for write in writes if write.rows], len(recalled)


def _moved(run: Draft) -> Row:
    return (
        run.run_id, run.status, run.owner, run.turn, run.attempt, run.interruptions, run.streak, run.tries, run.wanted, run.undo,
        run.seq, run.mailbox_seq, run.mailbox_consumed, run.wake_at, run.deadline, run.waiting_for, run.started_at,
        run.completed_at,
    )  # fmt: skip
