"""Executing a batch inside a transaction of SQLite.

The transaction holds the only write lock, so what is read here stays true until it commits: the rows that the batch touches are
read at once, changed by the rules in ``drafts``, and written at once. Whoever looks for runs to take, to free or to expire looks
at rows, so everything is written before. The order of the groups is the one in which they can need each other.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from stepwell.failpoints import failpoint
from stepwell.progress import Progress
from stepwell.store import control, drafts, hooks
from stepwell.store.base import (
    Amend,
    AnswerHook,
    Bury,
    Cancel,
    Claim,
    Claimed,
    Emit,
    Expire,
    Free,
    Freed,
    HookRow,
    MakeHook,
    NewRun,
    Operation,
    Pause,
    Put,
    Result,
    Resume,
    Retry,
    RunRow,
    Triggered,
)
from stepwell.store.drafts import Draft, EventRow, MessageRow, Page
from stepwell.store.new_runs import KnownRun, Register
from stepwell.store.sqlite_claims import find_due
from stepwell.store.sqlite_connection import Connection
from stepwell.store.sqlite_rows import Question, RowWriter, to_json
from stepwell.store.sqlite_waits import Waits
from stepwell.store.statements import statement

O = TypeVar("O")  # noqa: E741

_DRAFTS = Question("sqlite/drafts")
_ROWS = Question("sqlite/find_rows")
_KNOWN_RUNS = Question("sqlite/find_known_runs")
_KEYS = Question("sqlite/find_keys")
_STATUSES = Question("sqlite/statuses")
_MESSAGES = Question("sqlite/find_messages")
_OUTSIDE_EVENTS = Question("sqlite/find_outside_events")
_HOOKS = Question("sqlite/find_hooks")
_MAIL_IDS = Question("sqlite/mail_ids")
_DEAD_OWNERS = Question("sqlite/dead_owners")
_ORPHANS_OF_KNOWN = Question("sqlite/orphans_of_known")
_ORPHANS = Question("sqlite/orphans")
_DEAD_NODES_WITHOUT_RUNS = Question("sqlite/dead_nodes_without_runs")
_LATE = Question("sqlite/late")
_LATE_OWNED = Question("sqlite/late_owned")

_INSERT_RUNS = RowWriter("common/insert_runs", len(RunRow._fields) + 1)
_INSERT_KEYS = RowWriter("common/insert_keys", 4)
_INSERT_EVENTS = RowWriter("sqlite/insert_events", len(EventRow._fields))
_INSERT_MESSAGES = RowWriter("common/insert_messages", len(MessageRow._fields))
_WRITE_HOOKS = RowWriter("common/write_hooks", len(HookRow._fields))
_ADVANCE_RUNS = RowWriter("sqlite/advance_runs", 3)
_MOVE_RUNS = RowWriter("sqlite/move_runs", 18)

_OWNED_MAX: Final = 20_000

_BURY = statement("sqlite/bury")
_FORGET_DEAD_NODES = statement("sqlite/forget_dead_nodes")
_LAST_STEP = statement("common/last_step")


class _Groups:
    """The operations of a batch by kind, and what became of them."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations: dict[type, list[Any]] = {}
        self._places: dict[type, list[int]] = {}
        self._results: list[Result | None] = [None] * len(operations)
        for place, operation in enumerate(operations):
            kind = type(operation)
            if kind not in self._operations:
                self._operations[kind] = []
                self._places[kind] = []
            self._operations[kind].append(operation)
            self._places[kind].append(place)

    def of(self, kind: type[O]) -> list[O]:
        return self._operations.get(kind, [])

    def fill(self, kind: type[Any], results: Iterable[Result]) -> None:
        """Give each operation of a kind its result, in order."""
        for place, result in zip(self._places.get(kind, ()), results, strict=True):
            self._results[place] = result

    def answer(self, kind: type[O], how: Callable[[O], Result]) -> None:
        """Do the operations of a kind one after the other."""
        if kind in self._operations:
            self.fill(kind, map(how, self.of(kind)))

    def results(self) -> list[Result]:
        """Return the results in the order of the operations."""
        return [result for result in self._results if result is not None]


class BatchExecution:
    """One batch, from its operations to their results.

    ``owned`` are drafts of runs that this node owns and that nobody has changed since its last batch: they need not be read
    again. ``forgotten`` are the dead nodes whose rows it deleted.
    """

    def __init__(self, connection: Connection, page: Page, owned: dict[str, Draft]) -> None:
        self._connection = connection
        self._page = page
        self._owned = owned
        self.forgotten: list[str] = []

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        """Do each operation; the results stand in the order of the operations. What else was done is in the page."""
        page, groups = self._page, _Groups(operations)
        groups.answer(Bury, self._bury)
        groups.answer(Free, self._free)
        news = groups.of(NewRun)
        triggered = self._enter(news)
        self._read_ahead(groups, [new.signal for new in news if new.signal is not None])
        groups.fill(NewRun, [self._send_along(*pair) for pair in zip(news, triggered, strict=True)])
        groups.answer(Emit, lambda emit: drafts.emit(page, emit))
        groups.fill(Progress, [drafts.record(page, progress) for progress in groups.of(Progress)])
        groups.answer(Put, lambda put: drafts.put(page, put))
        groups.answer(MakeHook, lambda make: hooks.make(page, make))
        groups.answer(AnswerHook, lambda answer: hooks.answer(page, answer))
        waits = Waits(self._connection, page, self._read_drafts)
        waits.register()
        groups.answer(Cancel, waits.cancel)
        groups.answer(Pause, lambda pause: control.pause(page, pause))
        groups.answer(Resume, lambda resume: control.resume(page, resume))
        groups.answer(Retry, lambda retry: control.retry(page, retry))
        groups.answer(Amend, lambda amend: control.amend(page, amend))
        groups.answer(Expire, self._expire)
        waits.tell()
        groups.answer(Claim, self._claim)
        self._write()
        return groups.results()

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
                drafts.pause_now(self._page, run, self._reason(run), free.at_ms)
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

    def _enter(self, news: Sequence[NewRun]) -> list[Triggered]:
        if not news:
            return []
        keys: dict[tuple[str, str], str] = {}
        asked_keys = [(new.workflow, new.idempotency_key) for new in news if new.idempotency_key is not None]
        if asked_keys:
            held = _KEYS.ask(self._connection, list[tuple[str, str, str]], to_json(asked_keys))
            keys = {(workflow, key): run_id for workflow, key, run_id in held}
        ids = list({new.run_id for new in news} | set(keys.values()))
        known = {run.row.run_id: run for run in _KNOWN_RUNS.ask(self._connection, list[KnownRun], to_json(ids))}
        parents: dict[str, int] = {}
        asked_parents = list({new.parent_run_id for new in news if new.parent_run_id is not None})
        if asked_parents:
            parents = dict(_STATUSES.ask(self._connection, list[tuple[str, int]], to_json(asked_parents)))

        register = Register(known, keys, parents)
        triggered = [register.enter(self._page, new) for new in news]
        _INSERT_RUNS.write(self._connection, [(*added.row, added.input_hash) for added in register.added])
        keyed = [
            (added.row.workflow, added.row.idempotency_key, added.row.run_id, added.input_hash)
            for added in register.added
            if added.row.idempotency_key is not None
        ]
        _INSERT_KEYS.write(self._connection, keyed)
        return triggered

    def _send_along(self, new: NewRun, triggered: Triggered) -> Triggered:
        """Put the signal that came with a trigger into the mailbox of the run that was made or found."""
        if new.signal is None or triggered.row is None or triggered.reason not in ("created", "same"):
            return triggered
        signal = msgspec.structs.replace(new.signal, run_id=triggered.row.run_id)
        if signal.run_id != new.signal.run_id:
            self._read_drafts([signal.run_id])
            self._read_messages([signal])
        stored = drafts.put(self._page, signal)
        if stored.reason not in ("stored", "duplicate"):
            return triggered._replace(reason=stored.reason)
        run = self._page.runs[signal.run_id]
        return triggered._replace(row=triggered.row._replace(mailbox_seq=run.mailbox_seq, wake_at=run.wake_at))

    def _read_ahead(self, groups: _Groups, signals: Sequence[Put]) -> None:
        """Read what the operations on known runs need, in a handful of statements."""
        progresses, emits = groups.of(Progress), groups.of(Emit)
        puts = [*signals, *groups.of(Put)]
        ids = [progress.run_id for progress in progresses]
        ids += [put.run_id for put in puts]
        ids += [emit.run_id for emit in emits]
        asking: list[MakeHook | AnswerHook] = [*groups.of(MakeHook), *groups.of(AnswerHook)]
        steering: list[Cancel | Pause | Resume | Retry | Amend] = [
            *groups.of(Cancel), *groups.of(Pause), *groups.of(Resume), *groups.of(Retry), *groups.of(Amend)
        ]  # fmt: skip
        ids += [request.run_id for request in asking]
        ids += [request.run_id for request in steering]
        self._read_drafts(ids)
        if asking:
            hooked = [(request.run_id, request.hook_id) for request in asking]
            for hook in _HOOKS.ask(self._connection, list[HookRow], to_json(hooked)):
                self._page.hooks[hook.run_id, hook.hook_id] = hook
        if puts:
            self._read_messages(puts)
        if emits:
            asked = [(emit.run_id, drafts.EVENT_ID_PREFIX + emit.event_id) for emit in emits]
            found = _OUTSIDE_EVENTS.ask(self._connection, list[tuple[str, str, int, str]], to_json(asked))
            for run_id, step_id, seq, kind in found:
                if drafts.is_from_outside(kind):
                    self._page.known_events[run_id, step_id] = seq
        mail = [(each.run_id, each.consumed[0][0], each.consumed[-1][0]) for each in progresses if each.consumed]
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
        """Return the runs of these that exist, in order."""
        self._read_drafts(run_ids)
        return [self._page.runs[run_id] for run_id in run_ids if run_id in self._page.runs]

    def _read_drafts(self, run_ids: Sequence[str]) -> None:
        """Read those that this batch has not read yet: what it has changed is known better here."""
        runs, owned = self._page.runs, self._owned
        missing: dict[str, None] = {}
        for run_id in run_ids:
            if run_id in owned:
                runs[run_id] = owned[run_id]
            elif run_id not in runs:
                missing[run_id] = None
        if missing:
            for run in _DRAFTS.ask(self._connection, list[Draft], to_json(list(missing))):
                runs[run.run_id] = run

    def remember(self) -> None:
        """Keep what this node owns for its next batch, now that this one is committed."""
        for run_id, run in self._page.runs.items():
            if run.owner == self._page.node_id:
                run.refused = None
                self._owned[run_id] = run
            else:
                self._owned.pop(run_id, None)
        if len(self._owned) > _OWNED_MAX:
            self._owned.clear()

    def _write(self) -> None:
        page = self._page
        advanced: list[tuple[str | int | None, ...]] = []
        moved: list[tuple[str | int | None, ...]] = []
        for run in page.runs.values():
            if run.changed == drafts.ADVANCED:
                advanced.append((run.run_id, run.seq, run.waiting_for))
            elif run.changed == drafts.MOVED:
                moved.append((
                    run.run_id, run.status, run.owner, run.turn, run.attempt, run.interruptions, run.streak, run.tries,
                    run.wanted, run.undo, run.seq, run.mailbox_seq, run.mailbox_consumed, run.wake_at, run.deadline,
                    run.waiting_for, run.started_at, run.completed_at,
                ))  # fmt: skip
            run.changed = drafts.UNTOUCHED
        _ADVANCE_RUNS.write(self._connection, advanced, page.now_ms)
        _MOVE_RUNS.write(self._connection, moved, page.now_ms)
        _INSERT_EVENTS.write(self._connection, page.events)
        _INSERT_MESSAGES.write(self._connection, page.messages)
        if page.changed_hooks:
            _WRITE_HOOKS.write(self._connection, list({hook[:2]: hook for hook in page.changed_hooks}.values()))
            page.changed_hooks.clear()
        page.events.clear()
        page.messages.clear()
