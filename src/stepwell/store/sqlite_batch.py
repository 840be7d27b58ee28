"""Executing a batch inside a transaction of SQLite.

The transaction holds the only write lock, so what is read here stays true until it commits: the rows that the batch touches are
read at once, changed by the rules in ``drafts``, and written at once. Whoever looks for runs to take, to free or to expire looks
at rows, so everything is written before. The order of the groups is the one in which they can need each other.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from stepwell.failpoints import failpoint
from stepwell.progress import Progress
from stepwell.store import drafts
from stepwell.store.base import (
    Bury,
    Cancel,
    Claim,
    Claimed,
    Emit,
    Expire,
    Free,
    Freed,
    NewRun,
    Operation,
    Put,
    Result,
    Resume,
    RunRow,
    Triggered,
)
from stepwell.store.drafts import Draft, EventRow, MessageRow, Page
from stepwell.store.new_runs import KnownRun, Register
from stepwell.store.sqlite_claims import find_due
from stepwell.store.sqlite_connection import Connection
from stepwell.store.sqlite_rows import Question, RowWriter, to_json
from stepwell.store.statements import statement

O = TypeVar("O")  # noqa: E741

_DRAFTS = Question("sqlite/drafts")
_ROWS = Question("sqlite/find_rows")
_KNOWN_RUNS = Question("sqlite/find_known_runs")
_KEYS = Question("sqlite/find_keys")
_STATUSES = Question("sqlite/statuses")
_MESSAGES = Question("sqlite/find_messages")
_OUTSIDE_EVENTS = Question("sqlite/find_outside_events")
_MAIL_IDS = Question("sqlite/mail_ids")
_DEAD_OWNERS = Question("sqlite/dead_owners")
_ORPHANS_OF_KNOWN = Question("sqlite/orphans_of_known")
_ORPHANS = Question("sqlite/orphans")
_DEAD_NODES_WITHOUT_RUNS = Question("sqlite/dead_nodes_without_runs")
_LATE = Question("sqlite/late")
_LATE_OWNED = Question("sqlite/late_owned")

_INSERT_RUNS = RowWriter("common/insert_runs", len(RunRow._fields) + 1)
_INSERT_KEYS = RowWriter("common/insert_keys", 4)
_INSERT_EVENTS = RowWriter("common/insert_events", len(EventRow._fields))
_INSERT_MESSAGES = RowWriter("common/insert_messages", len(MessageRow._fields))
_ADVANCE_RUNS = RowWriter("sqlite/advance_runs", 3)
_MOVE_RUNS = RowWriter("sqlite/move_runs", 15)

_BURY = statement("sqlite/bury")
_FORGET_DEAD_NODES = statement("sqlite/forget_dead_nodes")
_LAST_STEP = statement("common/last_step")


class BatchExecution:
    """One batch, from its operations to their results. ``forgotten`` are the dead nodes whose rows it deleted."""

    def __init__(self, connection: Connection, page: Page) -> None:
        self._connection = connection
        self._page = page
        self.forgotten: list[str] = []

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        """Do each operation; the results stand in the order of the operations."""
        results: dict[int, Result] = {}
        groups: dict[type, list[tuple[int, Any]]] = {}
        for place, operation in enumerate(operations):
            groups.setdefault(type(operation), []).append((place, operation))

        def each(kind: type[O]) -> Iterable[tuple[int, O]]:
            return groups.get(kind, ())

        for place, bury in each(Bury):
            results[place] = self._bury(bury)
        for place, free in each(Free):
            results[place] = self._free(free)
        news = list(each(NewRun))
        if news:
            results.update(self._enter(news))
        self._read_ahead(operations, [new.signal for _, new in news if new.signal is not None])
        for place, new in news:
            if new.signal is not None:
                results[place] = self._send_along(new.signal, results[place])
        for place, emit in each(Emit):
            results[place] = drafts.emit(self._page, emit)
        for place, progress in each(Progress):
            results[place] = drafts.record(self._page, progress)
        for place, put in each(Put):
            results[place] = drafts.put(self._page, put)
        for place, cancel in each(Cancel):
            results[place] = drafts.cancel(self._page, cancel)
        for place, resume in each(Resume):
            results[place] = drafts.resume(self._page, resume)
        for place, expire in each(Expire):
            results[place] = self._expire(expire)
        for place, claim in each(Claim):
            results[place] = self._claim(claim)
        self._write()
        return [results[place] for place in range(len(operations))]

    def _bury(self, bury: Bury) -> int:
        failpoint("bury")
        self._connection.execute(_BURY, (to_json(list(bury.known_dead)), bury.boot_id, bury.boot_ms))
        return self._connection.changes()

    def _free(self, free: Free) -> Freed:
        failpoint("free")
        self._write()
        dead = to_json(_DEAD_OWNERS.ask(self._connection, list[str]))
        found = _ORPHANS_OF_KNOWN.ask(self._connection, list[str], dead, to_json(list(free.workflows)), free.limit + 1)
        if len(found) <= free.limit:
            found += _ORPHANS.ask(self._connection, list[str], dead, free.limit + 1 + len(found))
        ids = list(dict.fromkeys(found))
        chosen = ids[: free.limit]
        paused: list[str] = []
        for run in self._drafts(chosen):
            if drafts.free(self._page, run, pause_at=free.pause_at, at_ms=free.at_ms):
                drafts.pause(self._page, run, self._reason(run), free.at_ms)
                paused.append(run.run_id)
        self._write()
        gone = _DEAD_NODES_WITHOUT_RUNS.ask(self._connection, list[str])
        if gone:
            self._connection.execute(_FORGET_DEAD_NODES, (to_json(gone),))
            self.forgotten += gone
        return Freed(chosen, paused, len(ids) > free.limit)

    def _reason(self, run: Draft) -> str:
        step = self._connection.execute(_LAST_STEP, (run.run_id,)).get
        return f"its worker was lost {run.streak} times without a new step; last recorded step: {step or 'none'}"

    def _enter(self, news: Sequence[tuple[int, NewRun]]) -> dict[int, Result]:
        asked_keys = [(new.workflow, new.idempotency_key) for _, new in news if new.idempotency_key is not None]
        keys: dict[tuple[str, str], str] = {}
        if asked_keys:
            held = _KEYS.ask(self._connection, list[tuple[str, str, str]], to_json(asked_keys))
            keys = {(workflow, key): run_id for workflow, key, run_id in held}
        ids = list({new.run_id for _, new in news} | set(keys.values()))
        known = {run.row.run_id: run for run in _KNOWN_RUNS.ask(self._connection, list[KnownRun], to_json(ids))}
        asked_parents = list({new.parent_run_id for _, new in news if new.parent_run_id is not None})
        parents: dict[str, int] = {}
        if asked_parents:
            parents = dict(_STATUSES.ask(self._connection, list[tuple[str, int]], to_json(asked_parents)))

        register = Register(known, keys, parents)
        results: dict[int, Result] = {place: register.enter(self._page, new) for place, new in news}
        _INSERT_RUNS.write(self._connection, [(*added.row, added.input_hash) for added in register.added])
        keyed = [
            (added.row.workflow, added.row.idempotency_key, added.row.run_id, added.input_hash)
            for added in register.added
            if added.row.idempotency_key is not None
        ]
        _INSERT_KEYS.write(self._connection, keyed)
        return results

    def _send_along(self, signal: Put, triggered: Result) -> Triggered:
        assert isinstance(triggered, Triggered)
        if triggered.row is None or triggered.reason not in ("created", "same"):
            return triggered
        run_id = triggered.row.run_id
        signal = signal if signal.run_id == run_id else _readdressed(signal, run_id)
        self._read_messages([signal])
        self._drafts([run_id])
        stored = drafts.put(self._page, signal)
        if stored.reason not in ("stored", "duplicate"):
            return triggered._replace(reason=stored.reason)
        run = self._page.runs[run_id]
        return triggered._replace(row=triggered.row._replace(mailbox_seq=run.mailbox_seq, wake_at=run.wake_at))

    def _read_ahead(self, operations: Sequence[Operation], signals: Sequence[Put]) -> None:
        """Read what the operations on known runs need, in a handful of statements."""
        ids: list[str] = [signal.run_id for signal in signals]
        puts: list[Put] = list(signals)
        emits: list[tuple[str, str]] = []
        mail: list[tuple[str, int, int]] = []
        for operation in operations:
            if isinstance(operation, Progress):
                ids.append(operation.run_id)
                if operation.consumed:
                    mail.append((operation.run_id, operation.consumed[0][0], operation.consumed[-1][0]))
            elif isinstance(operation, Put):
                ids.append(operation.run_id)
                puts.append(operation)
            elif isinstance(operation, Emit):
                ids.append(operation.run_id)
                emits.append((operation.run_id, drafts.EVENT_ID_PREFIX + operation.event_id))
            elif isinstance(operation, Cancel | Resume):
                ids.append(operation.run_id)
        if ids:
            self._drafts(ids)
        if puts:
            self._read_messages(puts)
        if emits:
            found = _OUTSIDE_EVENTS.ask(self._connection, list[tuple[str, str, int, str]], to_json(emits))
            for run_id, step_id, seq, kind in found:
                if drafts.is_from_outside(kind):
                    self._page.known_events[run_id, step_id] = seq
        if mail:
            for run_id, seq, message_id in _MAIL_IDS.ask(self._connection, list[tuple[str, int, str]], to_json(mail)):
                self._page.mail[run_id, seq] = message_id

    def _read_messages(self, puts: Sequence[Put]) -> None:
        asked = [(put.run_id, put.kind, put.message_id) for put in puts]
        for run_id, kind, message_id, seq in _MESSAGES.ask(self._connection, list[tuple[str, str, str, int]], to_json(asked)):
            self._page.known_messages[run_id, kind, message_id] = seq

    def _expire(self, expire: Expire) -> list[str]:
        self._write()
        ids = _LATE.ask(self._connection, list[str], expire.at_ms, expire.limit)
        owned_since = expire.at_ms - expire.owned_after_ms
        ids += _LATE_OWNED.ask(self._connection, list[str], owned_since, expire.limit - len(ids))
        for run in self._drafts(ids):
            drafts.expire(self._page, run, expire.at_ms)
        return ids

    def _claim(self, claim: Claim) -> Claimed:
        failpoint("claim")
        self._write()
        ids, more = find_due(self._connection, claim)
        if not ids:
            return Claimed([], more)
        for run in self._drafts(ids):
            drafts.take(self._page, run, claim.at_ms)
        self._write()
        return Claimed(_ROWS.ask(self._connection, list[RunRow], to_json(ids)), more)

    def _drafts(self, run_ids: Sequence[str]) -> list[Draft]:
        """Return the runs of these that exist, in order; read those that this batch has not touched yet."""
        runs = self._page.runs
        missing = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in runs]
        if missing:
            for run in _DRAFTS.ask(self._connection, list[Draft], to_json(missing)):
                runs[run.run_id] = run
        return [runs[run_id] for run_id in run_ids if run_id in runs]

    def _write(self) -> None:
        page = self._page
        advanced: list[tuple[str | int | None, ...]] = []
        moved: list[tuple[str | int | None, ...]] = []
        for run in page.runs.values():
            if run.changed == drafts.ADVANCED:
                advanced.append((run.run_id, run.seq, run.waiting_for))
            elif run.changed == drafts.MOVED:
                moved.append((
                    run.run_id, run.status, run.owner, run.turn, run.interruptions, run.streak, run.tries, run.seq,
                    run.mailbox_seq, run.mailbox_consumed, run.wake_at, run.deadline, run.waiting_for, run.started_at,
                    run.completed_at,
                ))  # fmt: skip
            run.changed = drafts.UNTOUCHED
        _ADVANCE_RUNS.write(self._connection, advanced, page.now_ms)
        _MOVE_RUNS.write(self._connection, moved, page.now_ms)
        _INSERT_EVENTS.write(self._connection, page.events)
        _INSERT_MESSAGES.write(self._connection, page.messages)
        page.events.clear()
        page.messages.clear()


def _readdressed(signal: Put, run_id: str) -> Put:
    # The key named a run that is there already, under another id than the one drawn for the trigger.
    return Put(
        run_id=run_id,
        kind=signal.kind,
        name=signal.name,
        message_id=signal.message_id,
        payload=signal.payload,
        at_ms=signal.at_ms,
    )
