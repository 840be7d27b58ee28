"""Executing a batch inside a transaction, whatever the database.

All rows that the batch is known to touch are locked and read at once, changed by the rules in ``drafts``, and written at once;
what is locked stays as it was read until the commit. Whoever looks for runs to take, to free or to expire looks at rows, so
everything is written before. The order of the groups is the one in which they can need each other.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from stepwell.failpoints import failpoint
from stepwell.progress import Outcome, Progress, Refused, WriteRecords
from stepwell.store import control, drafts, hooks, pruning
from stepwell.store.access import ACCESS
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
    Stored,
    Triggered,
    Update,
)
from stepwell.store.drafts import Draft, Page
from stepwell.store.due import claimed, find_due
from stepwell.store.hints import Hint
from stepwell.store.new_runs import PRIORITY_STEP_MS, KnownRun, Register, tag_rows
from stepwell.store.plans import Change, Get, Lock, Plan, Table, Together, Write, ask, change, to_json
from stepwell.store.recording import Recording
from stepwell.store.records import BuildIndex, Configure, DropKeys
from stepwell.store.retention import KeepFor, Prune, Sweep, Swept
from stepwell.store.telling import Telling
from stepwell.store.waits import Waits
from stepwell.store.writing import page_writes
from stepwell.store.written_events import record_and_write

O = TypeVar("O")  # noqa: E741

_RUNS: Final = Table("insert_runs", (*RunRow._fields, "input_hash"))
_KEYS: Final = Table("insert_keys", ("workflow", "key", "run_id", "input_hash"))
_TAGS: Final = Table("insert_tags", ("run_id", "tag", "created_at"))
_RETENTION: Final = Table("write_retention", ("workflow", "version", "kept_ms"))
_OWNED_MAX: Final = 20_000


class _Groups:
    """The operations of a batch by kind, and what became of them."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations: dict[type, list[Any]] = {}
        self._places: dict[type, list[int]] = {}
        self._results: list[Result | None] = [None] * len(operations)
        for place, operation in enumerate(operations):
            kind = type(operation)
            self._operations.setdefault(kind, []).append(operation)
            self._places.setdefault(kind, []).append(place)

    def of(self, kind: type[O]) -> list[O]:
        return self._operations.get(kind, [])

    def fill(self, kind: type[Any], results: Iterable[Result]) -> None:
        """Give each operation of a kind its result, in order."""
        for place, result in zip(self._places.get(kind, ()), results, strict=True):
            self._results[place] = result

    def answer(self, kind: type[O], how: Callable[[O], Result]) -> None:
        """Do the operations of a kind one after the other, by a rule that asks nothing."""
        if kind in self._operations:
            self.fill(kind, map(how, self.of(kind)))

    def carry_out(self, kind: type[O], how: Callable[[O], Plan[Result]]) -> "Plan[None] | tuple[()]":
        """Do the operations of a kind one after the other, by a plan each."""
        return self._carried_out(kind, how) if kind in self._operations else ()

    def _carried_out(self, kind: type[O], how: Callable[[O], Plan[Result]]) -> Plan[None]:
        for place, operation in zip(self._places[kind], self.of(kind), strict=True):
            self._results[place] = yield from how(operation)

    def results(self) -> list[Result]:
        """Return the results in the order of the operations."""
        return [result for result in self._results if result is not None]


class Outdated(Exception):
    """What was remembered of a run is not what is stored: the batch must be done again, with what is."""


class BatchExecution:
    """One batch, from its operations to their results.

    ``owned`` are drafts of runs that this node owned after its last batch: they need not be read again. If others write at the
    same time (``is_shared``), they serve only where nothing else is read, and are written under the condition that they still are
    what they were. ``forgotten`` are the dead nodes whose rows it deleted. On a database that ``passes_over`` what others have
    locked, a claim finds out whether it has.

    Raises:
        Outdated: They are not. Nothing of this may be committed.
    """

    def __init__(self, page: Page, owned: dict[str, Draft], *, is_shared: bool = False, passes_over: bool = False) -> None:
        self._page = page
        self._owned = owned
        self._is_shared = is_shared
        self._telling = Telling(page)
        self._passes_over = passes_over
        self._were: dict[str, tuple[int, int, int, int]] = {}
        """What the rows of remembered runs must be for this to count."""
        self._keys: dict[tuple[str, str], str] = {}
        self._known: dict[str, KnownRun] = {}
        self._parents: list[str] = []
        self._recording = Recording(now_ms=page.now_ms, bytes_max=page.record_bytes_max)
        self.forgotten: list[str] = []
        self.has_written = False
        """Whether anything but the node's own row was changed."""

    def hint(self, *, has_workers: bool) -> Hint:
        """Return what others should know of this batch. Whose node ``has_workers`` wakes at the times that it writes itself."""
        return self._telling.hint(self.collections, has_workers=has_workers)

    @property
    def collections(self) -> list[str]:
        """Collections whose records were written."""
        return self._recording.changed

    def apply(self, operations: Sequence[Operation]) -> Plan[list[Result]]:
        """Do each operation; the results stand in the order of the operations. What else was done is in the page."""
        page, groups = self._page, _Groups(operations)
        yield from self._read_ahead(groups)
        yield from self._prepare_records(groups)
        yield from groups.carry_out(Bury, self._bury)
        yield from groups.carry_out(Free, self._free)
        news = groups.of(NewRun)
        triggered = yield from self._enter(news)
        groups.fill(NewRun, (yield from self._send_along(news, triggered)))
        groups.answer(Emit, lambda emit: drafts.emit(page, emit))
        yield from groups.carry_out(WriteRecords, self._recording.write)
        yield from self._record(groups)
        groups.answer(Put, lambda put: drafts.put(page, put))
        groups.answer(MakeHook, lambda make: hooks.make(page, make))
        groups.answer(AnswerHook, lambda answer: hooks.answer(page, answer))
        waits = Waits(page, self._read_drafts)
        yield from waits.register()
        yield from groups.carry_out(Cancel, waits.cancel)
        groups.answer(Pause, lambda pause: control.pause(page, pause))
        groups.answer(Resume, lambda resume: control.resume(page, resume))
        groups.answer(Retry, lambda retry: control.retry(page, retry))
        groups.answer(Amend, lambda amend: control.amend(page, amend))
        yield from groups.carry_out(Update, self._update)
        yield from groups.carry_out(Expire, self._expire)
        if page.ended and self._were:
            # Only who has locked a run's row may ask who waits for its end.
            yield from self._write()
        yield from waits.tell()
        yield from groups.carry_out(KeepFor, self._keep_for)
        yield from groups.carry_out(Prune, self._prune)
        yield from groups.carry_out(Sweep, self._sweep)
        yield from groups.carry_out(Claim, self._claim)
        for kind, how in ACCESS.items():
            self.has_written |= bool(groups.of(kind))
            yield from groups.carry_out(kind, how)
        yield from self._write()
        return groups.results()

    def _prepare_records(self, groups: _Groups) -> Plan[None]:
        """Settle collections, then lock those that are written to."""
        recording = self._recording
        yield from groups.carry_out(Configure, recording.configure)
        yield from groups.carry_out(BuildIndex, recording.build)
        yield from groups.carry_out(DropKeys, recording.drop)
        requests = groups.of(WriteRecords)
        writings = [each for progress in groups.of(Progress) for each in progress.writings]
        requests = [*requests, *(each.request for each in writings if each.refused is None)]
        if requests:
            yield from recording.read_ahead(requests)

    def _record(self, groups: _Groups) -> Plan[None]:
        page, outcomes = self._page, list[Outcome]()
        for progress in groups.of(Progress):
            if progress.writings:
                outcomes.append((yield from record_and_write(page, self._recording, progress)))
            else:
                outcomes.append(drafts.record(page, progress))
            if progress.run_id in self._were:
                self._verify(progress.run_id, outcomes[-1])
        groups.fill(Progress, outcomes)

    def _verify(self, run_id: str, outcome: Outcome) -> None:
        run = self._page.runs[run_id]
        if isinstance(outcome, Refused):
            raise Outdated  # perhaps: who looks will know
        run.changed = run.changed or drafts.ADVANCED  # written, and so compared, whatever was done

    def _bury(self, bury: Bury) -> Plan[int]:
        failpoint("bury")
        buried = yield from change("bury", to_json(list(bury.known_dead)), bury.boot_id, bury.boot_ms)
        self.has_written |= buried > 0
        return buried

    def _free(self, free: Free) -> Plan[Freed]:
        failpoint("free")
        yield from self._write()
        owners = yield from ask("dead_owners", list[str])
        dead = to_json(owners)
        known = to_json(list(free.workflows))
        found = yield from ask("orphans_of_known", list[str], dead, known, free.limit + 1)
        if len(found) <= free.limit:
            found += yield from ask("orphans", list[str], dead, free.limit + 1 + len(found))
        ids = list(dict.fromkeys(found))
        chosen: list[str] = []
        paused: list[str] = []
        for run in (yield from self._drafts(ids[: free.limit])):
            if run.owner not in owners:
                continue  # another node was faster
            chosen.append(run.run_id)
            if drafts.free(self._page, run, pause_at=free.pause_at, at_ms=free.at_ms):
                drafts.pause_now(self._page, run, (yield from self._reason(run)), free.at_ms)
                paused.append(run.run_id)
        yield from self._write()
        gone = yield from ask("dead_nodes_without_runs", list[str])
        if gone:
            yield from change("forget_dead_nodes", to_json(gone))
            self.forgotten += gone
        return Freed(chosen, paused, len(ids) > free.limit)

    def _reason(self, run: Draft) -> Plan[str]:
        answers = yield [Get("last_step", (run.run_id,))]
        return f"its worker was lost {run.streak} times without a new step; last recorded step: {answers[0] or 'none'}"

    def _enter(self, news: Sequence[NewRun]) -> Plan[list[Triggered]]:
        if not news:
            return []
        page = self._page
        parents = {run_id: drafts.status_for_children(page.runs[run_id]) for run_id in self._parents if run_id in page.runs}
        register = Register(self._known, self._keys, parents)
        triggered = [register.enter(page, new) for new in news]
        for added in register.added:
            page.runs[added.row.run_id] = drafts.of_row(added.row)
        keyed = [
            (added.row.workflow, added.row.idempotency_key, added.row.run_id, added.input_hash)
            for added in register.added
            if added.row.idempotency_key is not None
        ]
        if register.added:
            self.has_written = True
            self._telling.added([added.row for added in register.added])
            rows = [(*added.row, added.input_hash) for added in register.added]
            tags = [tag for added in register.added for tag in tag_rows(added.row)]
            # In order: two nodes may add the same ones.
            yield [Write(_KEYS, sorted(keyed)), Write(_RUNS, sorted(rows)), Write(_TAGS, sorted(tags))]
        if page.copies:
            yield [Change("copy_events", copy) for copy in page.copies]
            page.copies.clear()
        return triggered

    def _send_along(self, news: Sequence[NewRun], triggered: Sequence[Triggered]) -> Plan[list[Triggered]]:
        results: list[Triggered] = []
        for new, found in zip(news, triggered, strict=True):
            results.append(found if new.signal is None else (yield from self._send_with(new, found, new.signal)))
        return results

    def _send_with(self, new: NewRun, triggered: Triggered, signal: Put) -> Plan[Triggered]:
        """Put the signal that came with a trigger into the mailbox of the run that was made or found."""
        if triggered.row is None or triggered.reason not in ("created", "same"):
            return triggered
        if triggered.row.run_id not in self._page.runs or triggered.row.run_id != signal.run_id:
            # It has another id; or another node has made it since this batch locked what was there.
            signal = msgspec.structs.replace(signal, run_id=triggered.row.run_id)
            yield from self._read_drafts([signal.run_id])
            together = Together()
            self._ask_messages(together, [signal])
            yield from together.answers()
        stored = drafts.put(self._page, signal)
        if stored.reason not in ("stored", "duplicate"):
            return triggered._replace(reason=stored.reason)
        run = self._page.runs[signal.run_id]
        return triggered._replace(row=triggered.row._replace(mailbox_seq=run.mailbox_seq, wake_at=run.wake_at))

    def _read_ahead(self, groups: _Groups) -> Plan[None]:
        """Lock the runs that the operations name, then read what else they need, in a handful of statements."""
        news, progresses, emits, puts = groups.of(NewRun), groups.of(Progress), groups.of(Emit), groups.of(Put)
        asking: list[MakeHook | AnswerHook] = [*groups.of(MakeHook), *groups.of(AnswerHook)]
        cancels = groups.of(Cancel)
        steering: list[Pause | Resume | Amend | Update] = [
            *groups.of(Pause), *groups.of(Resume), *groups.of(Amend), *groups.of(Update)
        ]  # fmt: skip
        asked_keys = [(new.workflow, new.idempotency_key) for new in news if new.idempotency_key is not None]
        if asked_keys:
            held = yield from ask("find_keys", list[tuple[str, str, str]], to_json(asked_keys))
            self._keys = {(workflow, key): run_id for workflow, key, run_id in held}
        self._parents = [new.parent_run_id for new in news if new.parent_run_id is not None]
        self._parents += [new.share.source_run_id for new in news if new.share is not None]

        ids = [progress.run_id for progress in progresses]
        for each in progresses:
            ids += each.awaits
        for named in (puts, emits, asking, cancels, steering):
            ids += [operation.run_id for operation in named]
        for retry in groups.of(Retry):
            ids += retry.run_ids()
        for new in news:
            if new.signal is not None:
                holder = None if new.idempotency_key is None else self._keys.get((new.workflow, new.idempotency_key))
                ids.append(holder or new.run_id)
        for prune in groups.of(Prune):
            ids += prune.run_ids()
        ids += self._parents
        ending = [progress.run_id for progress in progresses if progress.final is not None]
        if self._is_shared and not asked_keys and len(ids) == len(progresses):
            self._recall(progresses)
        yield from self._read_drafts(ids, [*ending, *(cancel.run_id for cancel in cancels)])

        together = Together()
        if news:
            known = list({new.run_id for new in news} | set(self._keys.values()))
            together.ask("find_known_runs", list[KnownRun], self._keep_known, to_json(known))
        if asking:
            hooked = [(request.run_id, request.hook_id) for request in asking]
            together.ask("find_hooks", list[HookRow], self._keep_hooks, to_json(hooked))
        self._ask_messages(together, [*puts, *(new.signal for new in news if new.signal is not None)])
        if emits:
            asked = [(emit.run_id, drafts.EVENT_ID_PREFIX + emit.event_id) for emit in emits]
            together.ask("find_outside_events", list[tuple[str, str, int, str]], self._keep_events, to_json(asked))
        mail = [(each.run_id, each.consumed[0][0], each.consumed[-1][0]) for each in progresses if each.consumed]
        if mail:
            together.ask("mail_ids", list[tuple[str, int, str]], self._keep_mail, to_json(mail))
        yield from together.answers()

    def _ask_messages(self, together: Together, puts: Sequence[Put]) -> None:
        if puts:
            asked = [(put.run_id, put.kind, put.message_id) for put in puts]
            together.ask("find_messages", list[tuple[str, str, str, int]], self._page.keep_messages, to_json(asked))

    def _keep_known(self, found: list[KnownRun]) -> None:
        self._known = {run.row.run_id: run for run in found}

    def _keep_hooks(self, found: list[HookRow]) -> None:
        for hook in found:
            self._page.hooks[hook.run_id, hook.hook_id] = hook

    def _keep_events(self, found: list[tuple[str, str, int, str]]) -> None:
        for run_id, step_id, seq, kind in found:
            if drafts.is_from_outside(kind):
                self._page.known_events[run_id, step_id] = seq

    def _keep_mail(self, found: list[tuple[str, int, str]]) -> None:
        for run_id, seq, message_id in found:
            self._page.mail[run_id, seq] = message_id

    def _update(self, update: Update) -> Plan[Stored]:
        stored = control.update(self._page, update)
        if stored.reason == "stored":
            self.has_written = True
            yield from change(
                "update_run", update.tags, update.priority, PRIORITY_STEP_MS, update.max_events, update.timeout_ms,
                self._page.now_ms, update.run_id,
            )  # fmt: skip
            if update.tags is not None:
                yield from change("delete_tags", to_json([update.run_id]))
                yield from change("retag", update.tags, update.run_id)
        return stored

    def _expire(self, expire: Expire) -> Plan[list[str]]:
        yield from self._write()
        ids = yield from ask("late", list[str], expire.at_ms, expire.limit)
        owned_since = expire.at_ms - expire.owned_after_ms
        ids += yield from ask("late_owned", list[str], owned_since, expire.limit - len(ids))
        late = [
            run
            for run in (yield from self._drafts(ids))
            if run.deadline is not None and run.deadline <= (expire.at_ms if run.owner is None else owned_since)
        ]
        for run in late:
            control.expire(self._page, run, expire.at_ms)
        return [run.run_id for run in late]

    def _keep_for(self, keep: KeepFor) -> Plan[int]:
        self.has_written = True
        yield [Write(_RETENTION, sorted(keep.said))]  # in order: two nodes may say the same
        return len(keep.said)

    def _prune(self, prune: Prune) -> Plan[list[str]]:
        failpoint("prune")
        waiting = yield from ask("find_waiters", list[tuple[str, str]], to_json([run_id for run_id, _ in prune.runs]))
        return pruning.prune(prune, self._page.runs, {run_id for run_id, _ in waiting})

    def _sweep(self, sweep: Sweep) -> Plan[Swept]:
        failpoint("sweep")
        yield from self._write()
        swept = yield from pruning.sweep(sweep.rows_max)
        self.has_written |= swept.rows > 0
        return swept

    def _claim(self, claim: Claim) -> Plan[Claimed]:
        failpoint("claim")
        yield from self._write()
        ids, more = yield from find_due(claim)
        taken = [run for run in (yield from self._drafts(ids)) if drafts.is_due(run, claim.at_ms)]
        for run in taken:
            drafts.take(self._page, run, claim.at_ms)
        yield from self._write()
        # Where another node was faster with some of them, there may be others.
        more = more or len(taken) < len(ids)
        return (yield from claimed(claim, [run.run_id for run in taken], more=more, passes_over=self._passes_over))

    def _drafts(self, run_ids: Sequence[str]) -> Plan[list[Draft]]:
        """Return the runs of these that exist, in order."""
        yield from self._read_drafts(run_ids)
        return [self._page.runs[run_id] for run_id in run_ids if run_id in self._page.runs]

    def _recall(self, progresses: Sequence[Progress]) -> None:
        """Do without reading, if all that is known of these runs is remembered. Then nothing is locked before it is written, and
        rows are written in the order of their keys, so that nobody who locks them in that order can be in the way for good.
        """
        owned, runs = self._owned, self._page.runs
        for each in progresses:
            if each.run_id not in owned or each.consumed or each.writings:
                return
        for each in progresses:
            runs[each.run_id] = run = owned[each.run_id]
            self._were[run.run_id] = (run.turn, run.seq, run.mailbox_seq, run.wanted)

    def _read_drafts(self, run_ids: Sequence[str], ending: Sequence[str] = ()) -> Plan[None]:
        """Read those that this batch has not read yet: what it has changed is known better here."""
        runs, owned = self._page.runs, self._owned if not self._is_shared else {}
        missing: dict[str, None] = {}
        for run_id in run_ids:
            if run_id in owned:
                runs[run_id] = owned[run_id]
            elif run_id not in runs:
                missing[run_id] = None
        if missing:
            answers = yield [Lock(list(missing), ending)]
            for run in answers[0]:
                runs[run.run_id] = run
            self._telling.read(answers[0])

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

    def _write(self) -> Plan[None]:
        page = self._page
        if self._is_shared:
            self._telling.moved()
        wanted, recalled = page_writes(page, self._were)
        wanted += self._recording.writes()
        if wanted:
            self.has_written = True
            answers = yield wanted
            if recalled and answers[0] != recalled:
                raise Outdated
            page.changed_hooks.clear()
            page.events.clear()
            page.messages.clear()
