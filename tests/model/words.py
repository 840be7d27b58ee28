"""What a state of the model is made of: rows and nodes in the store, processes and what they hold, the outside and its chances.

Events and messages are words. An event is ``"a"`` (step a is completed), ``"a failed"``, ``"undone a"`` (its compensation),
``"signal m1"``, ``"hook asked"``, ``"answered yes"``, ``"hook expired"``, ``"child started"``, ``"child awaited"``, ``"child
failed 1.1"`` (the attempts of both), ``"cancel asked"``, ``"fail asked"``, ``"paused"``, ``"resumed"``, ``"retried"``,
``"user"``, or a final one.
"""

from typing import Final, NamedTuple, TypeAlias

ABSENT: Final = "absent"
PENDING: Final = "pending"
RUNNING: Final = "running"
PAUSED: Final = "paused"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
FINALS: Final = frozenset({COMPLETED, FAILED, CANCELLED})
"""Statuses of runs that are over, and the events that say so."""


class Row(NamedTuple):
    """A run in the store."""

    status: str = ABSENT
    owner: int | None = None
    turn: int = 0
    attempt: int = 1
    consumed: int = 0
    is_due: bool = False
    is_started: bool = False
    wanted: str = ""
    """``"cancel"`` or ``"fail"``: how it is to end once it is undone."""
    is_to_pause: bool = False
    undo: int = 0
    """How many completed steps have a compensation that is not recorded."""
    deadline: str = ""
    """``"ahead"``, ``"passed"``; nothing where there is none."""
    hook: str = ""
    """``"open"``, or its answer."""
    is_hook_late: bool = False
    is_awaited: bool = False
    """Whether the first run is to be told of this one's end."""
    shared: int = 0
    """How many of its events a fork has from another run."""
    own_from: int = 0
    """Where the events begin that this run undoes."""
    events: tuple[str, ...] = ()
    mailbox: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.status in FINALS


class Identity(NamedTuple):
    """A node's row."""

    is_alive: bool = True
    batch: int = 0
    nonce: int = 0
    """The ``batch_id`` of its last batch."""
    has_lease: bool = True


class Held(NamedTuple):
    """A run in a process's memory: as it was read, and went on since."""

    turn: int
    seq: int
    history: tuple[str, ...]
    mailbox: tuple[str, ...]
    consumed: int
    own_from: int
    is_late: bool
    """Whether its deadline has passed, by the clock of whoever holds it."""


class Claim(NamedTuple):
    run: int


class Record(NamedTuple):
    """An owner's progress. ``then`` is ``"suspend"``, ``"release"``, or ``"time out"`` (the events are a quiet part)."""

    run: int
    turn: int
    seq: int
    history: tuple[str, ...]
    """What the owner rests on."""
    events: tuple[str, ...]
    transcribed: tuple[tuple[int, str], ...]
    consumed: int
    then: str = ""


class Ask(NamedTuple):
    """What somebody outside wants of a run: a word such as ``"m1"``, ``"yes"``, ``"cancel"``, ``"pause"``."""

    run: int
    word: str


Operation: TypeAlias = Claim | Record | Ask


class Flight(NamedTuple):
    """A process's batch that is under way; ``is_unknown`` once contact was lost."""

    is_unknown: bool
    nonce: int
    operations: tuple[Operation, ...]


class Process(NamedTuple):
    """A node's process."""

    is_up: bool
    identity: int
    batch: int
    flight: Flight | None
    held: tuple[Held | None, ...]


class Stray(NamedTuple):
    """A batch whose sender has lost contact, and which may still be committed."""

    identity: int
    batch: int
    nonce: int
    operations: tuple[Operation, ...]


class Chances(NamedTuple):
    """What may still go wrong, and what clients still want."""

    crashes: int
    losses: int
    pauses: int
    failovers: int
    clones: int
    unsent: tuple[Ask, ...]
    acknowledged: tuple[Ask, ...]
    resends: int
    nonce: int


Store: TypeAlias = tuple[tuple[Identity, ...], tuple[Row, ...]]


class State(NamedTuple):
    """Everything."""

    identities: tuple[Identity, ...]
    rows: tuple[Row, ...]
    processes: tuple[Process, ...]
    stray: Stray | None
    chances: Chances
    past: tuple[Store, ...]
    """What a failover may bring back."""
