"""What passes between an executor of runs and the engine that stores them: the words of the worker's half of ``engine/api``.

Payloads are JSON texts here; neither side of this border looks into them twice. Times are ms since 1970 UTC.
"""

from collections.abc import Sequence
from typing import Final as Constant
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from stepwell.errors import StepwellError

WRITINGS_MAX: Constant = 64
"""Calls that write records, in one progress: so many results are in memory at once, each as long as a payload may be."""


EVENTS_MAX: Constant = 2_000
"""Events in one progress; and characters of their payloads, unless a single one has more."""
EVENTS_CHARACTERS_MAX: Constant = 32 * 1024 * 1024


class NewEvent(NamedTuple):
    """An event that is not numbered yet: the store gives it its ``seq`` in the commit."""

    type: str
    step_id: str
    name: str
    payload: str
    at_ms: int


class StoredEvent(NamedTuple):
    """An event of a history."""

    seq: int
    type: str
    step_id: str
    name: str
    payload: str
    at_ms: int


class Message(NamedTuple):
    """One message of a run's mailbox, in the order of ``mailbox_seq`` from 1."""

    mailbox_seq: int
    kind: str
    name: str
    message_id: str
    payload: str
    at_ms: int


class Assignment(msgspec.Struct, kw_only=True):
    """A run that this session now owns, with all that is recorded of it."""

    run_id: str
    turn: int
    workflow: str
    version: str
    attempt: int
    parent_run_id: str | None
    tags: list[str]
    input: str
    seed: str
    max_events: int
    seq: int
    started_at_ms: int
    deadline_ms: int | None
    tries: int
    """How often in a row its code did not fit its history."""
    mailbox_consumed: int
    history: Sequence[StoredEvent]
    """In order; empty for a run that was created in this very commit."""
    messages: Sequence[Message]
    """Those not transcribed yet."""


class Waiting(msgspec.Struct, frozen=True):
    """The text for ``runs.waiting_for``, and when the run is due at the latest (None: only a message wakes it)."""

    text: str
    wake_at_ms: int | None


class Final(msgspec.Struct, frozen=True):
    """The run ends with this event, which comes last."""

    status: int
    event: NewEvent


class RecordWrite(msgspec.Struct, kw_only=True, frozen=True):
    """What is to become of one record. ``data`` is the JSON text of an object: the fields that are given, without those that the
    store gives. With ``if_match`` only if the record was last updated at that time.
    """

    action: Literal["create", "update", "upsert", "delete"]
    id: str
    data: str = "{}"
    if_match: str | None = None


class WriteRecords(msgspec.Struct, kw_only=True, frozen=True):
    """Writes to one collection: all of them, or none. Asked for again, ``write_id`` tells that they are done.

    Outcome in a batch: ``Written``.
    """

    collection: str
    writes: Sequence[RecordWrite]
    write_id: str
    is_one: bool = False
    """Whether the result is the record itself, and not a list."""
    result_bytes_max: int | None = None
    """How long the records that are written may be, all of them together."""

    @property
    def size(self) -> int:
        """How long the texts are that are to be written."""
        return sum(len(write.data) for write in self.writes)


class Writing(msgspec.Struct, kw_only=True, frozen=True):
    """Records to be written in the commit that records it. The commit composes the event: the step is completed with what was
    written, or has failed with why it was not. What its payload has before, an object, stands behind that.
    """

    place: int
    """Which of the progress's events is the one to be composed."""
    request: WriteRecords
    refused: StepwellError | None = None
    """Why nothing of it may be written, if that is known before."""


class Progress(msgspec.Struct, kw_only=True, gc=False):
    """All that one run has to record, in one go. The store does the whole of it, or refuses the whole of it.

    ``quiet`` events and ``suspend`` are done only if every message in the store's mailbox is transcribed by then, this
    progress included; the rest is done all the same.
    """

    run_id: str
    turn: int
    events: list[NewEvent]
    mailbox_consumed: int
    """How far the mailbox is transcribed, this progress included."""
    consumed: Sequence[tuple[int, str]] = ()
    """``(mailbox_seq, message_id)`` of each message that is transcribed here."""
    quiet: Sequence[NewEvent] = ()
    beyond: int = 0
    """How many of the events, the last ones, ``max_events`` does not count: the run is being undone."""
    undoing: NewEvent | None = None
    """The run has failed, and its compensations begin. Not done if somebody outside has decided before on what becomes of it."""
    has_outcome: bool = False
    """Whether a step's outcome is among the events: it proves that the run does not just kill its workers."""
    undo: int = 0
    """How many steps with a compensation are completed by the events."""
    writings: Sequence[Writing] = ()
    awaits: Sequence[str] = ()
    """Runs whose end this run is to be told of, by a message of kind ``run``; at once for those that are over."""
    waiting: Waiting | None = None
    """Shown while the run is kept."""
    suspend: Waiting | None = None
    """The run lets go of its owner."""
    misfit: bool = False
    """With ``suspend``: the code does not fit the history. ``tries`` is raised, and unread messages are no reason to stay."""
    release: bool = False
    """The run is handed back, due at once: a drain."""
    lost: int = 0
    """With ``release``: its worker was lost, which counts as an interruption; this many in a row without a new step pause the
    run. 0: it was not lost."""
    final: Final | None = None


class Recorded(NamedTuple):
    """A progress was committed. ``quiet`` tells whether its quiet part was, and what depends on ``wanted``: ``undoing``, and the
    end of the run; ``seq`` is the number of the last event; ``written`` are the events of its ``writings``."""

    seq: int
    mailbox_seq: int
    quiet: bool
    asked: Literal["", "pause", "end"] = ""
    """What somebody outside wants of the run, be the message here or not: that it rests, or is undone. Nothing new begins."""
    written: Sequence[NewEvent] = ()


class Refused(NamedTuple):
    """A progress was refused as a whole.

    ``reason`` is ``"guard"`` (the run is over, or another's now), ``"limit"`` (``max_events``; ``seq`` is where the history
    stands), or ``"message"`` (the mailbox is not what the progress believes).
    """

    reason: str
    seq: int


Outcome: TypeAlias = Recorded | Refused


class Held(Protocol):
    """A run in an executor's hands, as its session sees it."""

    run_id: str
    turn: int
    deadline_ms: int | None

    def take(self) -> Progress | None:
        """Hand over what is to be recorded. The next is asked for after ``settled``."""
        ...

    def settled(self, outcome: Outcome) -> None:
        """What was taken is committed, or refused."""
        ...

    def deliver(self, messages: Sequence[Message]) -> None:
        """New messages, in order; some may be known already."""
        ...

    def drain(self) -> None:
        """Begin no more bodies, and hand the run back once none is under way."""
        ...

    def interrupt(self, reason: str) -> None:
        """The run is no longer this session's (``cancelled``, ``lost``, ``fenced``, ``closed``): drop it, write nothing."""
        ...
