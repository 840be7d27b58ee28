"""The store: a batch is committed as a whole, under the identity of its node; each operation is done, or refused."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from tests.model.execution import Program, end_in_sight, is_signal, outstanding
from tests.model.explorer import Broken
from tests.model.laws import check_change, check_undone_once
from tests.model.rules import Rules
from tests.model.words import (
    ABSENT,
    CANCELLED,
    COMPLETED,
    FAILED,
    FINALS,
    PAUSED,
    PENDING,
    RUNNING,
    Ask,
    Claim,
    Identity,
    Operation,
    Record,
    Row,
    Store,
)

NOT_COPIED: Final = ("retried", "paused", "resumed", "cancel asked", "fail asked", "hook asked", "user", *FINALS)
OTHER: Final = 1
"""The second run of a scope: the child of the first, or its fork."""


class Committed(NamedTuple):
    """The store afterwards, and what became of each operation."""

    store: Store
    outcomes: tuple[str, ...]


def visible(events: Sequence[str]) -> tuple[str, ...]:
    """Return the history as an owner knows it: a user's events come from anywhere at any time."""
    return tuple(event for event in events if event != "user")


def is_claimable(row: Row) -> bool:
    return row.owner is None and (row.status == PENDING or (row.status == RUNNING and row.is_due))


class Batch:
    """The rows while a batch is applied."""

    def __init__(self, programs: Sequence[Program], rules: Rules, rows: tuple[Row, ...], identity: int) -> None:
        self.rows = list(rows)
        self._programs = programs
        self._rules = rules
        self._identity = identity

    def do(self, operation: Operation) -> str:
        """Do one operation; say what became of it."""
        if isinstance(operation, Claim):
            return self._claim(operation.run)
        if isinstance(operation, Record):
            return self._record(operation)
        return self._ask(operation)

    def _set(self, why: str, run: int, row: Row) -> None:
        check_change(self._programs[run], why, self.rows[run], row)
        self.rows[run] = row
        check_undone_once(tuple(self.rows))
        if row.is_over and run == OTHER and row.is_awaited:
            self.rows[run] = row._replace(is_awaited=False)
            self._tell()

    def _tell(self) -> None:
        """Tell the first run of the end of the second."""
        parent, child = self.rows[0], self.rows[OTHER]
        if parent.is_over:
            return
        message = f"child {child.status} {child.attempt}"
        if self._rules.rounds_count_attempts:
            message += f".{parent.attempt}"
        if message not in parent.mailbox:
            self._set("message", 0, self._mailed(parent, message))

    def _mailed(self, row: Row, message: str) -> Row:
        is_woken = row.status == RUNNING and row.owner is None and self._rules.mail_makes_due
        return row._replace(mailbox=(*row.mailbox, message), is_due=row.is_due or is_woken)

    # -- owners

    def _claim(self, run: int) -> str:
        row = self.rows[run]
        if not is_claimable(row):
            return "no"
        deadline = "ahead" if self._programs[run].has_deadline and not row.deadline else row.deadline
        row = row._replace(status=RUNNING, owner=self._identity, turn=row.turn + 1)
        self._set("claim", run, row._replace(is_due=False, is_started=True, deadline=deadline))
        return "done"

    def _record(self, record: Record) -> str:
        row, rules = self.rows[record.run], self._rules
        stands = row.turn == record.turn if rules.turn_guard else len(row.events) == record.seq
        if row.owner != self._identity or row.status != RUNNING or not stands:
            return "refused"
        is_known = all(place < len(row.mailbox) and row.mailbox[place] == word for place, word in record.transcribed)
        if rules.message_identity and not is_known:
            return "refused"
        if rules.completing_minds_cancel and COMPLETED in record.events and row.wanted in ("cancel", "fail"):
            return "refused"
        if visible(row.events) != record.history:
            raise Broken(f"mixed: the store has {row.events}, its writer {record.history}")
        is_quiet = record.consumed == len(row.mailbox) and not row.wanted and not row.is_to_pause
        if record.then == "suspend":
            return self._suspend(record, row, is_quiet=is_quiet)
        if record.then == "time out" and rules.quiet_time_outs and not is_quiet:
            return "mail"
        self._advance(record, row)
        return "done"

    def _advance(self, record: Record, row: Row) -> None:
        undoable = self._programs[record.run].undoable()
        undo = sum(event in undoable for event in record.events) - sum(event.startswith("undone") for event in record.events)
        row = row._replace(events=row.events + record.events, consumed=record.consumed, undo=row.undo + undo)
        if "hook asked" in record.events:
            row = row._replace(hook="open")
        end = record.events[-1] if record.events and record.events[-1] in FINALS else ""
        if end == COMPLETED and row.wanted == "cancel":
            raise Broken("cancel: acknowledged, and the run completed all the same")
        if end:
            row = self._ended(row, end)
        elif record.then == "release":
            row = self._let_go(row, is_due=True)
        self._set("record", record.run, row)
        if "child started" in record.events and self.rows[OTHER].status == ABSENT:
            self._set("child", OTHER, Row(status=PENDING))
        if "child awaited" in record.events:
            self._await_child()

    def _await_child(self) -> None:
        child = self.rows[OTHER]
        if not child.is_over:
            self._set("message", OTHER, child._replace(is_awaited=True))
        elif self._rules.tells_late_waits:
            self._tell()

    def _suspend(self, record: Record, row: Row, *, is_quiet: bool) -> str:
        rules = self._rules
        if not rules.transcribes_in_order and len(record.transcribed) == 0:
            row = row._replace(consumed=len(row.mailbox))
        elif rules.quiet_suspensions and not is_quiet:
            return "mail"
        # Its time may have come while it was let go of: then it is due again at once.
        is_due = row.is_hook_late and row.hook == "open" and "hook expired" not in row.events
        self._set("record", record.run, self._let_go(row, is_due=is_due))
        return "done"

    def _let_go(self, row: Row, *, is_due: bool) -> Row:
        row = row._replace(owner=None, turn=row.turn + 1, is_due=is_due)
        return _paused(row) if row.is_to_pause and self._rules.pause_at_letting_go else row

    def _ended(self, row: Row, status: str) -> Row:
        is_to_pause = row.is_to_pause and not self._rules.end_forgets_pause
        deadline = "spent" if row.deadline else ""
        return row._replace(
            status=status, owner=None, turn=row.turn + 1, is_due=False, wanted="", is_to_pause=is_to_pause, deadline=deadline
        )  # fmt: skip

    def free(self, run: int) -> None:
        """Take a run from a dead owner."""
        self._set("free", run, self._let_go(self.rows[run], is_due=self._rules.free_makes_due))

    def expire(self, run: int) -> None:
        """The deadline has passed."""
        row = self.rows[run]
        if row.undo == 0 or not self._rules.deadline_minds_undo:
            row = row._replace(events=(*row.events, FAILED))
            self._set("deadline", run, self._ended(row, FAILED))
        elif row.wanted in ("cancel", "fail") or end_in_sight(row.events):
            self._set("deadline", run, row._replace(deadline="spent"))
        else:
            row = row._replace(status=RUNNING, owner=None, turn=row.turn + 1, wanted="fail", is_to_pause=False, deadline="spent")
            self._set("deadline", run, self._mailed(row, "fail"))

    # -- from outside

    def _ask(self, ask: Ask) -> str:
        row, word = self.rows[ask.run], ask.word
        if row.status == ABSENT:
            return "missing"
        if is_signal(word):
            return self._signal(ask.run, row, word)
        kind = word.partition(" ")[0]
        rules: dict[str, Any] = {
            "yes": self._answer, "no": self._answer, "cancel": self._cancel, "pause": self._pause, "resume": self._resume,
            "retry": self._retry, "again": self._retry, "amend": self._amend, "user": self._emit, "fork": self._fork,
        }  # fmt: skip
        outcome: str = rules[kind](ask.run, row, word)
        return outcome

    def _signal(self, run: int, row: Row, word: str) -> str:
        if word in row.mailbox:
            return "done"
        if row.is_over:
            return "over"
        self._set("message", run, self._mailed(row, word))
        return "done"

    def _emit(self, run: int, row: Row, word: str) -> str:
        if row.is_over:
            return "over"
        self._set("user", run, row._replace(events=(*row.events, word)))
        return "done"

    def _answer(self, run: int, row: Row, word: str) -> str:
        if row.hook == word:
            return "done"
        if not row.hook or (row.hook != "open" and self._rules.first_answer_stands):
            return "answered" if row.hook else "missing"
        if row.is_over or row.is_hook_late:
            return "late"
        self._set("message", run, self._mailed(row, word)._replace(hook=word))
        return "done"

    def _cancel(self, run: int, row: Row, word: str) -> str:
        if row.is_over:
            return "over"
        if row.undo and self._rules.cancel_minds_undo:
            if row.wanted in ("cancel", "fail"):
                return "done" if row.wanted == "cancel" else "failing"
            row = self._mailed(row, word)._replace(wanted="cancel", is_to_pause=False)
            if row.status == PAUSED and self._rules.cancel_wakes_paused:
                row = row._replace(status=RUNNING, is_due=True)
            self._set("cancel", run, row)
        else:
            self._set("cancel", run, self._ended(row._replace(events=(*row.events, CANCELLED)), CANCELLED))
        if run == 0 and len(self.rows) > 1 and self.rows[OTHER].is_awaited:
            self._cancel(OTHER, self.rows[OTHER], word)
        return "done"

    def _pause(self, run: int, row: Row, word: str) -> str:
        if row.is_over or row.status == PAUSED:
            return "over" if row.is_over else "done"
        if row.is_to_pause:
            return "done"
        wanted = row.wanted if self._rules.pause_keeps_cancel else ""
        row = row._replace(wanted=wanted)
        if row.owner is None:
            self._set("pause", run, _paused(row))
        else:
            self._set("pause", run, self._mailed(row, f"pause {len(row.mailbox)}")._replace(is_to_pause=True))
        return "done"

    def _resume(self, run: int, row: Row, word: str) -> str:
        if row.is_to_pause:
            self._set("resume", run, row._replace(is_to_pause=False))
            return "done"
        if row.status != PAUSED:
            return "not paused"
        status = RUNNING if row.is_started else PENDING
        self._set("resume", run, row._replace(status=status, is_due=True, events=(*row.events, "resumed")))
        return "done"

    def _retry(self, run: int, row: Row, word: str) -> str:
        if row.status != FAILED and (self._rules.retry_has_one_winner or FAILED not in row.events):
            return "not failed"
        if self._rules.retry_minds_undo and any(event.startswith("undone") for event in row.events):
            return "undone"
        if run == OTHER and self.rows[0].is_over:
            return "parent over"
        self._set(
            "retry", run, row._replace(
                status=RUNNING, owner=None, turn=row.turn + 1, attempt=row.attempt + 1, is_due=True, deadline="",
                events=(*row.events, "retried"),
            ),
        )  # fmt: skip
        return "done"

    def _amend(self, run: int, row: Row, word: str) -> str:
        step = word.partition(" ")[2]
        if row.status != PAUSED or step in row.events:
            return "not paused"
        self._set("amend", run, row._replace(events=(*row.events, step)))
        return "done"

    def _fork(self, run: int, row: Row, word: str) -> str:
        if self.rows[OTHER].status != ABSENT:
            return "done"
        copied = row.events
        if self._rules.fork_has_no_end:
            copied = tuple(event for event in copied if event not in NOT_COPIED and not event.startswith("undone"))
            copied = tuple(event for event in copied if not event.endswith(" failed"))
        own_from = len(copied) if self._rules.fork_undoes_its_own else 0
        row = Row(
            status=RUNNING, is_due=True, is_started=True, events=copied, shared=len(copied), own_from=own_from,
            undo=len(outstanding(self._programs[OTHER], copied, own_from)),
        )  # fmt: skip
        self._set("fork", OTHER, row)
        return "done"


def _paused(row: Row) -> Row:
    return row._replace(status=PAUSED, is_due=False, is_to_pause=False, events=(*row.events, "paused"))


def commit(
    programs: Sequence[Program], rules: Rules, store: Store, *, identity: int, batch: int, nonce: int,
    operations: Sequence[Operation],
) -> Committed | None:  # fmt: skip
    """Commit a batch; None if its node is dead, or its number is not the next: nothing of it is done."""
    identities, rows = store
    node = identities[identity]
    if not node.is_alive or node.batch != batch:
        return None
    renewed = Identity(True, batch + 1, nonce, True)
    batch_ = Batch(programs, rules, rows, identity)
    outcomes = tuple(batch_.do(operation) for operation in operations)
    return Committed(((*identities[:identity], renewed, *identities[identity + 1 :]), tuple(batch_.rows)), outcomes)
