"""Recorded outcomes by identity, and the signals of a run; what replay reads.

A history is built from events once, when a run is loaded. What is recorded later, live, is not added: an identity is asked for
once in the life of an execution.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from stepwell.progress import Message, StoredEvent

OUTCOMES: Final = frozenset(
    {
        "step_completed", "step_failed", "step_interrupted", "sleep_completed", "signal_timed_out", "hook_expired", "race_won",
        "state_set", "patch_marked",
    }
)  # fmt: skip
_ABOUT_OPERATIONS: Final = OUTCOMES | {"step_started", "sleep_started", "step_retrying", "child_started"}
TRANSCRIBED: Final = {"signal": "signal_received", "hook": "hook_executed", "run": "child_completed"}
"""How a message of each kind stands in the history."""
_ANSWERS: Final = {"hook_executed": "hook", "child_completed": "run"}


class Record:
    """What is recorded under one identity: how it ended, when it began, and its last failed attempt."""

    __slots__ = ("asked", "began", "identity", "outcome", "retrying")

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.outcome: StoredEvent | None = None
        self.began: StoredEvent | None = None
        self.retrying: StoredEvent | None = None
        self.asked = False


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
    signal: int | None = None
    """The mailbox number of the signal that a wait took, where several branches could have."""


class _Received(msgspec.Struct, rename="camel"):
    mailbox_seq: int
    payload: msgspec.Raw


class _Resumed(msgspec.Struct):
    voided: list[str] = []
    runs: list[str] = []
    """Runs whose end is to be asked for again."""


_decode_resumed = msgspec.json.Decoder(_Resumed).decode
_decode_outcome = msgspec.json.Decoder(_Outcome).decode
_decode_received = msgspec.json.Decoder(_Received).decode


class History:
    """The recorded past of a run, as its executor asks for it."""

    __slots__ = (
        "_records", "_reserved", "_signals", "_unasked", "answers", "hook_names", "last_ms",
    )  # fmt: skip

    def __init__(self, events: Iterable[StoredEvent]) -> None:
        """Read events, in order.

        Raises:
            msgspec.MsgspecError: One cannot be read. Better now than in the middle of the workflow's code.
        """
        self._records: dict[str, Record] = {}
        self._unasked: dict[str, int] = {}
        self._signals: dict[str, deque[Signal]] = {}
        self.answers: dict[tuple[str, str], Answer] = {}
        """By the kind and name of the message."""
        self.hook_names: dict[str, str] = {}
        """By the ids of hooks: for people."""
        self.last_ms = 0
        taken: set[int] = set()
        for event in events:
            self.last_ms = max(self.last_ms, event.at_ms)
            if event.type == "signal_received":
                received = _decode_received(event.payload)
                self.add_signal(event.name, Signal(received.mailbox_seq, bytes(received.payload).decode(), event.at_ms))
            elif event.type == "run_resumed":
                self._void(_decode_resumed(event.payload))
            elif event.type in _ANSWERS:
                answer = bytes(_decode_received(event.payload).payload).decode()
                self.answers[_ANSWERS[event.type], event.name] = Answer(answer, event.at_ms)
            elif event.type in _ABOUT_OPERATIONS:
                record, signal = self._record(event.step_id), _decode_outcome(event.payload).signal
                if event.type in OUTCOMES:
                    record.outcome = event
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

    def _record(self, identity: str) -> Record:
        record = self._records.get(identity)
        if record is None:
            record = self._records[identity] = Record(identity)
            path = _path(identity)
            self._unasked[path] = self._unasked.get(path, 0) + 1
        return record

    def ask(self, identity: str) -> Record | None:
        """Return what is recorded under an identity, and note that the code asked for it."""
        if not self._unasked:
            # The common case, live: everything recorded was asked for, and nothing is asked for twice.
            return None
        record = self._records.get(identity)
        if record is not None and not record.asked:
            record.asked = True
            path = _path(identity)
            left = self._unasked[path] - 1
            if left:
                self._unasked[path] = left
            else:
                del self._unasked[path]
        return record

    def is_ahead(self, path: str) -> bool:
        """Tell whether something recorded in this branch has not been asked for yet: code that asks for something new there has
        changed, legally or not."""
        return path in self._unasked

    def is_ahead_below(self, path: str) -> bool:
        """Tell the same of a branch and all branches that it has started."""
        return any(unasked.startswith(path) for unasked in self._unasked)

    @property
    def is_replaying(self) -> bool:
        """Whether anything recorded has not been asked for yet."""
        return bool(self._unasked)

    def forget_below(self, prefix: str, but: str) -> None:
        """A race was decided: what its losers recorded, all below ``prefix`` ``but`` the winner's, need not be asked for."""
        for identity, record in self._records.items():
            if not record.asked and identity.startswith(prefix) and not identity.startswith(but):
                self.ask(identity)

    def never_asked(self) -> StoredEvent | None:
        """Return the first recorded outcome that the code, which has returned, never asked for; None if there is none.

        Steps that were recorded as ``inserted`` need not be asked for: they came from code that did not fit, or from an edit.
        """
        if not self._unasked:
            return None
        left = [
            event
            for record in self._records.values()
            if not record.asked and (event := record.outcome or record.retrying or record.began) is not None
            and not _decode_outcome(event.payload).inserted
        ]  # fmt: skip
        return min(left, key=lambda event: event.seq, default=None)

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


def _path(identity: str) -> str:
    return identity[: identity.rfind("/") + 1]
