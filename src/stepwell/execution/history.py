"""Recorded outcomes by identity, and the signals of a run; what replay reads.

A history is built from events once, when a run is loaded. What is recorded later, live, is not added: an identity is asked for
once in the life of an execution.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from stepwell.execution.identity import is_compensation, kind_of
from stepwell.progress import Message, StoredEvent

OUTCOMES: Final = frozenset(
    {
        "step_completed", "step_failed", "step_interrupted", "sleep_completed", "signal_timed_out", "hook_expired", "race_won",
        "state_set", "patch_marked", "compensation_completed", "compensation_failed",
    }
)  # fmt: skip
_ABOUT_OPERATIONS: Final = OUTCOMES | {"step_started", "sleep_started", "step_retrying", "child_started"}
TRANSCRIBED: Final = {
    "signal": "signal_received", "hook": "hook_executed", "run": "child_completed",
    "cancel": "cancel_requested", "fail": "compensation_started",
}  # fmt: skip
"""How a message of each kind stands in the history."""
_ANSWERS: Final = {"hook_executed": "hook", "child_completed": "run"}
UNDOES: Final = frozenset({"cancel_requested", "compensation_started"})
"""With these the end of a run with compensations begins. What was under way may still be recorded behind."""


class Record:
    """What is recorded under one identity: how it ended, when it began, and its last failed attempt."""

    __slots__ = ("asked", "began", "identity", "is_shared", "outcome", "retrying")

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.outcome: StoredEvent | None = None
        self.began: StoredEvent | None = None
        self.retrying: StoredEvent | None = None
        self.asked = False
        self.is_shared = False
        """Whether all of it comes from the run that this one is a fork of: then the code need not ask for it."""

    @property
    def latest(self) -> StoredEvent | None:
        """The event that says most of it."""
        return self.outcome or self.retrying or self.began


class Signal(NamedTuple):
    """A signal in the history, not taken by any wait yet."""

    mailbox_seq: int
    payload: str
    at_ms: int


class Answer(NamedTuple):
    """What one place outside has answered, for good: a hook, or a run that is over. Any number of waits may read it."""

    payload: str
    at_ms: int


class _Outcome(msgspec.Struct, rename="camel"):
    inserted: bool = False
    compensate: bool = False
    signal: int | None = None
    """The mailbox number of the signal that a wait took, where several branches could have."""


class _Received(msgspec.Struct, rename="camel"):
    mailbox_seq: int
    payload: msgspec.Raw


class _Resumed(msgspec.Struct):
    voided: list[str] = []
    runs: list[str] = []
    """Runs whose end is to be asked for again."""


class _Forked(msgspec.Struct, rename="camel"):
    source_run_id: str
    voided: list[str] = []


_decode_resumed = msgspec.json.Decoder(_Resumed).decode
_decode_forked = msgspec.json.Decoder(_Forked).decode
_decode_outcome = msgspec.json.Decoder(_Outcome).decode
_decode_received = msgspec.json.Decoder(_Received).decode


class History:
    """The recorded past of a run, as its executor asks for it."""

    __slots__ = (
        "_has_gone_on", "_records", "_reserved", "_shared_unasked", "_signals", "_unasked", "answers", "compensations",
        "hook_names", "last_ms", "shared_seq", "sources", "started_ms", "undoes", "undone", "when_asked",
    )  # fmt: skip

    def __init__(self, events: Iterable[StoredEvent]) -> None:
        """Read events, in order.

        Raises:
            msgspec.MsgspecError: One cannot be read. Better now than in the middle of the workflow's code.
        """
        self._records: dict[str, Record] = {}
        self._unasked: dict[str, int] = {}
        self._shared_unasked = 0
        self._has_gone_on = False
        self._signals: dict[str, deque[Signal]] = {}
        self.answers: dict[tuple[str, str], Answer] = {}
        """By the kind and name of the message."""
        self.hook_names: dict[str, str] = {}
        """By the ids of hooks: for people."""
        self.last_ms = 0
        self.started_ms: int | None = None
        """When the run started first; of a fork, when the run did with which it shares its beginning."""
        self.shared_seq = 0
        """The number of the last event that comes from the run that this one is a fork of; 0 if it is none."""
        self.sources: list[str] = []
        """The run that this one is a fork of, that of which that one is, and so on."""
        self.compensations: dict[str, StoredEvent] = {}
        """Recorded completions of steps with a compensation that the code has not asked for yet, by identity."""
        self.undoes: StoredEvent | None = None
        """The event with which the end of a run with compensations begins."""
        self.undone: dict[str, Record] = {}
        """What is recorded of compensations, by their identities."""
        self.when_asked: Callable[[], None] | None = None
        """Called when all that is recorded was asked for."""
        taken: set[int] = set()
        for event in events:
            self.last_ms = max(self.last_ms, event.at_ms)
            if event.type == "signal_received":
                received = _decode_received(event.payload)
                self.add_signal(event.name, Signal(received.mailbox_seq, bytes(received.payload).decode(), event.at_ms))
            elif event.type == "run_started":
                self.started_ms = self.started_ms or event.at_ms
            elif event.type in UNDOES:
                self.undoes = self.undoes or event
            elif event.type == "run_resumed":
                self._void(_decode_resumed(event.payload))
            elif event.type == "run_forked":
                self._fork(event)
            elif event.type in _ANSWERS:
                answer = bytes(_decode_received(event.payload).payload).decode()
                self.answers[_ANSWERS[event.type], event.name] = Answer(answer, event.at_ms)
            elif event.type in _ABOUT_OPERATIONS:
                outcome = _decode_outcome(event.payload)
                record, signal = self._record(event.step_id), outcome.signal
                if event.type in OUTCOMES:
                    record.outcome = event
                    if outcome.compensate:
                        self.compensations[event.step_id] = event
                elif event.type == "step_retrying":
                    record.retrying = event
                else:
                    record.began = event
                if signal is not None:
                    taken.add(signal)
        self._reserved = taken

    def _void(self, resumed: "_Resumed") -> None:
        """Forget what a retry has declared to count no more."""
        for identity in resumed.voided:
            record = self._records.get(identity)
            if record is not None:
                record.outcome = record.began = record.retrying = None
        for run_id in resumed.runs:
            self.answers.pop(("run", run_id), None)

    def _fork(self, event: StoredEvent) -> None:
        """What is read so far comes from another run. What was open there begins anew, but for sleeps and delays of retries."""
        forked = _decode_forked(event.payload)
        self.shared_seq = event.seq
        self.sources.insert(0, forked.source_run_id)
        self._void(_Resumed(voided=forked.voided))
        self._unasked.clear()
        self.compensations.clear()
        self._shared_unasked = len(self._records)
        for record in self._records.values():
            record.is_shared = True
            if record.outcome is None and kind_of(record.identity) != "sleep":
                record.began = None

    def _record(self, identity: str) -> Record:
        if is_compensation(identity):
            return self.undone.setdefault(identity, Record(identity))
        record = self._records.get(identity)
        if record is None:
            record = self._records[identity] = Record(identity)
        elif not record.is_shared:
            return record
        else:
            record.is_shared = False
            self._shared_unasked -= 1
        path = path_of(identity)
        self._unasked[path] = self._unasked.get(path, 0) + 1
        return record

    def ask(self, identity: str) -> Record | None:
        """Return what is recorded under an identity, and note that the code asked for it."""
        if not (self._unasked or self._shared_unasked or self.compensations):
            # The common case, live: everything recorded was asked for, and nothing is asked for twice.
            return None
        record = self._records.get(identity)
        if record is None:
            self._has_gone_on = True
        elif not record.asked:
            record.asked = True
            if record.is_shared:
                self._shared_unasked -= 1
                return record
            path = path_of(identity)
            left = self._unasked[path] - 1
            if left:
                self._unasked[path] = left
            else:
                del self._unasked[path]
                if self.when_asked is not None and not self._unasked:
                    self.when_asked()
        return record

    def is_ahead(self, path: str) -> bool:
        """Tell whether something recorded in this branch has not been asked for yet: code that asks for something new there has
        changed, legally or not."""
        return path in self._unasked

    def first_ahead(self, path: str) -> StoredEvent | None:
        """Return the first event recorded in this branch that the code has not asked for and must ask for."""
        if not self.is_ahead(path):
            return None
        return min((event for event in self.left() if path_of(event.step_id) == path), key=lambda event: event.seq, default=None)

    def is_ahead_below(self, path: str) -> bool:
        """Tell the same of a branch and all branches that it has started; what is shared with another run counts as well."""
        return any(unasked.startswith(path) for unasked in self._unasked) or (
            self._shared_unasked > 0
            and any(one.is_shared and not one.asked and one.identity.startswith(path) for one in self._records.values())
        )

    def is_compensated_below(self, path: str) -> bool:
        """Tell whether a step with a compensation was completed in a branch, and has not been asked for yet."""
        return any(identity.startswith(path) for identity in self.compensations)

    @property
    def is_replaying(self) -> bool:
        """Whether anything recorded has not been asked for yet. What a fork shares counts until its code has gone on."""
        return bool(self._unasked) or (self._shared_unasked > 0 and not self._has_gone_on)

    def forget_below(self, prefix: str, but: str) -> None:
        """A race was decided: what its losers recorded, all below ``prefix`` ``but`` the winner's, need not be asked for."""
        for identity, record in self._records.items():
            if not record.asked and identity.startswith(prefix) and not identity.startswith(but):
                self.ask(identity)

    def never_asked(self) -> StoredEvent | None:
        """Return the first recorded outcome that the code, which has returned, never asked for; None if there is none.

        Steps that were recorded as ``inserted`` need not be asked for: they came from code that did not fit, or from an edit. Nor
        need what a fork shares with another run: its code, or its input, may be another.
        """
        if not self._unasked:
            return None
        return min(self.left(), key=lambda event: event.seq, default=None)

    def left(self) -> list[StoredEvent]:
        """Return, of each operation that the code has not asked for and must ask for, the event that says most of it."""
        return [
            event
            for record in self._records.values()
            if not (record.asked or record.is_shared) and (event := record.latest) is not None
            and not _decode_outcome(event.payload).inserted
        ]  # fmt: skip

    def outcomes(self) -> Iterator[StoredEvent]:
        """Yield the outcomes that count, in the order in which their operations began to be recorded."""
        for record in self._records.values():
            if record.outcome is not None:
                yield record.outcome

    def add_signal(self, name: str, signal: Signal) -> None:
        """Keep a signal until a wait takes it."""
        self._signals.setdefault(name, deque()).append(signal)

    def take_signal(self, name: str) -> Signal | None:
        """Take the first signal of a name that no other wait is recorded to have taken."""
        queue = self._signals.get(name)
        if queue is None:
            return None
        for signal in queue:
            if signal.mailbox_seq not in self._reserved:
                queue.remove(signal)
                return signal
        return None

    def take_recorded_signal(self, name: str, outcome: StoredEvent) -> Signal | None:
        """Take the very signal that this wait is recorded to have taken."""
        wanted = _decode_outcome(outcome.payload).signal
        for signal in self._signals.get(name, ()):
            if signal.mailbox_seq == wanted:
                self._signals[name].remove(signal)
                return signal
        return None

    def has_signal(self, name: str) -> bool:
        """Tell whether a wait for this name would find one."""
        return any(signal.mailbox_seq not in self._reserved for signal in self._signals.get(name, ()))


def received(message: Message) -> str:
    """Return the payload of the event that transcribes a message.

    Raises:
        msgspec.MsgspecError: The message's own cannot be read.
    """
    msgspec.json.decode(message.payload, type=msgspec.Raw)
    seq, text, identity = message.mailbox_seq, message.payload, message.message_id
    field = "signalId" if message.kind == "signal" else "messageId"
    return f'{{"payload":{text},"{field}":{msgspec.json.encode(identity).decode()},"mailboxSeq":{seq}}}'


def path_of(identity: str) -> str:
    """Return the path of the branch that an operation belongs to."""
    return identity[: identity.rfind("/") + 1]
