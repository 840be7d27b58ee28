"""Which triggers make a run, and which find one: the rules, without a database."""

from typing import NamedTuple

import msgspec

from stepwell.store.base import OVER_FROM, PENDING, RUNNING, TOMBSTONE, NewRun, RunRow, Share, Triggered
from stepwell.store.drafts import Page, started

PRIORITY_STEP_MS = 60_000


class KnownRun(NamedTuple):
    """A run that is there, and the hash of its input."""

    row: RunRow
    input_hash: str


class Register:
    """What is known of the ids, keys and parents that the triggers of a batch name, and the rows that they add."""

    def __init__(self, runs: dict[str, KnownRun], keys: dict[tuple[str, str], str], parents: dict[str, int]) -> None:
        self._runs = runs
        self._keys = keys
        self._parents = parents
        self.added: list[KnownRun] = []

    def enter(self, page: Page, new: NewRun) -> Triggered:
        """Make a run, or find the one that has its id or key. The signal that comes with it is left to others."""
        holder = None if new.idempotency_key is None else self._keys.get((new.workflow, new.idempotency_key))
        if holder not in self._runs:
            holder = None  # it was removed, key and all, since the key was looked up
        named = self._runs.get(new.run_id)
        if any(known is not None and known.row.status == TOMBSTONE for known in (named, self._runs.get(holder or ""))):
            return Triggered("pruned", None)
        if holder is not None:
            if named is not None and holder != new.run_id:
                return Triggered("id_and_key_differ", named.row)
            return _compare(new, self._runs[holder], "key_taken")
        if named is not None:
            if new.idempotency_key is not None:
                # The key is free and would have to be bound to a run that was made without it.
                return Triggered("id_and_key_differ" if _is_same(new, named) else "id_taken", named.row)
            return _compare(new, named, "id_taken")
        if new.parent_run_id is not None:
            parent = self._runs.get(new.parent_run_id)
            status = self._parents.get(new.parent_run_id) if parent is None else parent.row.status
            if status is None:
                return Triggered("no_parent", None)
            if status >= OVER_FROM:
                return Triggered("parent_over", None)
        share = new.share
        if share is not None:
            source = self._runs.get(share.source_run_id)
            if share.source_run_id not in self._parents and (source is None or source.row.status == TOMBSTONE):
                return Triggered("no_source", None)
            # Room for run_forked, run_started and the final event.
            if share.seq + 3 > new.max_events:
                return Triggered("limit", None)
        return self._make(page, new)

    def _make(self, page: Page, new: NewRun) -> Triggered:
        claimed, share = new.claim and new.due_ms <= new.at_ms, new.share
        seq = 1
        if share is None:
            page.events.append((new.run_id, 1, "run_created", "", "", new.created, new.at_ms))
        else:
            seq = _share(page, new, share)
        if claimed:
            seq += 1
            page.events.append((new.run_id, seq, *started(1, new.at_ms)))
        row = RunRow(
            run_id=new.run_id,
            workflow=new.workflow,
            version=new.version,
            status=RUNNING if claimed else PENDING,
            owner=page.node_id if claimed else None,
            turn=1 if claimed else 0,
            attempt=1,
            interruptions=0,
            streak=0,
            tries=0,
            priority=new.priority,
            rank=new.due_ms - new.priority * PRIORITY_STEP_MS,
            wanted=0,
            undo=0 if share is None else share.undo,
            seq=seq,
            mailbox_seq=0 if share is None else share.mailbox_seq,
            mailbox_consumed=0 if share is None else share.mailbox_seq,
            wake_at=None if claimed else new.due_ms,
            deadline=new.at_ms + new.timeout_ms if claimed and new.timeout_ms is not None else None,
            timeout_ms=new.timeout_ms,
            waiting_for=None,
            max_events=new.max_events,
            tags=new.tags,
            parent_run_id=new.parent_run_id,
            idempotency_key=new.idempotency_key,
            created_at=new.at_ms,
            started_at=new.at_ms if claimed else None,
            completed_at=None,
            updated_at=new.at_ms,
        )
        known = KnownRun(row, new.input_hash)
        self.added.append(known)
        self._runs[new.run_id] = known
        if new.idempotency_key is not None:
            self._keys[new.workflow, new.idempotency_key] = new.run_id
        return Triggered("created", row, claimed)


def tag_rows(row: RunRow) -> list[tuple[str, str, int]]:
    """Return what is written of a new run's tags, so that it is listed by them."""
    if row.tags == "[]":
        return []
    return [(row.run_id, tag, row.created_at) for tag in dict.fromkeys(msgspec.json.decode(row.tags, type=list[str]))]


def _share(page: Page, new: NewRun, share: Share) -> int:
    """Give a fork its beginning; return the number of its last event."""
    done = 0
    for event in share.rewritten:
        if event.seq > done + 1:
            page.copies.append((new.run_id, share.source_run_id, done, event.seq - 1))
        page.events.append((new.run_id, *event))
        done = event.seq
    if share.seq > done:
        page.copies.append((new.run_id, share.source_run_id, done, share.seq))
    page.events.append((new.run_id, share.seq + 1, "run_forked", "", "", share.forked, new.at_ms))
    page.changed_hooks += share.hooks
    return share.seq + 1


def _is_same(new: NewRun, known: KnownRun) -> bool:
    return new.workflow == known.row.workflow and new.input_hash == known.input_hash


def _compare(new: NewRun, known: KnownRun, otherwise: str) -> Triggered:
    return Triggered("same" if _is_same(new, known) else otherwise, known.row)
