"""Removing runs that are over: which may go, and how much of them goes in one commit. Pure.

A run that is to go becomes a *tombstone* first: a row that only this page and a trigger with its id or key still see. Then its
events, messages and hooks go, the last first, as many as a commit may delete; ``seq`` and ``mailbox_seq`` of the tombstone count
what is left, so whoever comes next, after whatever death, knows where to go on. Key and row go with the last of them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stepwell.store.base import OVER_FROM, TOMBSTONE
from stepwell.store.drafts import MOVED, Draft
from stepwell.store.plans import Change, Plan, Request, ask, to_json
from stepwell.store.retention import Prune, Swept


class Tombstone(NamedTuple):
    """What is left of a run that is being removed."""

    run_id: str
    seq: int
    mailbox_seq: int
    workflow: str
    key: str | None


class Portion(NamedTuple):
    """What one commit removes: stretches of histories and mailboxes as ``[run_id, after, up to]``."""

    events: list[tuple[str, int, int]]
    messages: list[tuple[str, int, int]]
    worn: list[Tombstone]
    """Those of which something is left, and what."""
    gone: list[Tombstone]
    """Those of which nothing is left."""
    rows: int


def portion_of(tombstones: Sequence[Tombstone], rows_max: int) -> Portion:
    """Return what to remove of these, at most so many rows. A tombstone's own row counts as one."""
    portion = Portion([], [], [], [], 0)
    left = rows_max
    for each in tombstones:
        if left <= 0:
            break
        events = min(each.seq, left)
        messages = min(each.mailbox_seq, left - events)
        left -= events + messages
        rest = each._replace(seq=each.seq - events, mailbox_seq=each.mailbox_seq - messages)
        if events:
            portion.events.append((each.run_id, rest.seq, each.seq))
        if messages:
            portion.messages.append((each.run_id, rest.mailbox_seq, each.mailbox_seq))
        is_gone = rest.seq == rest.mailbox_seq == 0 and left > 0
        (portion.gone if is_gone else portion.worn).append(rest)
        left -= is_gone
    return portion._replace(rows=rows_max - left)


def sweep(rows_max: int) -> Plan[Swept]:
    """Remove a portion of what tombstones stand for."""
    tombstones = yield from ask("tombstones", list[Tombstone], rows_max)
    portion = portion_of(tombstones, rows_max)
    gone = to_json([each.run_id for each in portion.gone])
    changes: list[Request] = []
    if portion.events:
        stretches = to_json(portion.events)
        changes += [Change("delete_events", (stretches,)), Change("delete_hooks", (stretches,))]
    if portion.messages:
        changes.append(Change("delete_messages", (to_json(portion.messages),)))
    changes += [Change("wear_down", (each.seq, each.mailbox_seq, each.run_id)) for each in portion.worn]
    if portion.gone:
        keys = to_json([(each.workflow, each.key) for each in portion.gone if each.key is not None])
        changes += [Change("delete_keys", (keys,)), Change("delete_waiters", (gone,)), Change("delete_tags", (gone,)),
                    Change("delete_runs", (gone,))]  # fmt: skip
    if changes:
        yield changes
    return Swept(len(portion.gone), portion.rows, len(portion.gone) < len(tombstones) or len(tombstones) == rows_max)


def is_held(parent_status: int | None, *, is_waited_for: bool) -> bool:
    """Tell whether somebody may still ask for the outcome of a run that is over: who waits for it, or a parent that goes on.

    ``parent_status`` is None where there is no parent, or none any more.
    """
    return is_waited_for or (parent_status is not None and parent_status < OVER_FROM)


def prune(prune: Prune, runs: Mapping[str, Draft], waited_for: set[str]) -> list[str]:
    """Make tombstones of those that are over, and were by that time, and that nobody can ask for; return their ids."""
    done: list[str] = []
    for run_id, parent_run_id in prune.runs:
        run, parent = runs.get(run_id), runs.get(parent_run_id or "")
        if run is None or run.status < OVER_FROM or run.completed_at is None or run.completed_at >= prune.before_ms:
            continue
        if is_held(None if parent is None else parent.status, is_waited_for=run_id in waited_for):
            continue
        run.status = TOMBSTONE
        run.wake_at = run.deadline = run.waiting_for = None
        run.changed = MOVED
        done.append(run_id)
    return done
