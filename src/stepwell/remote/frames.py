"""The worker protocol, version 1: what a worker and a server say to each other over a WebSocket. ``docs/protocol.md`` tells it.

A message is a JSON array of frames. Payloads lie in the frames as JSON, and pass through here as texts that nobody looks into.
A frame that is longer than a message may be travels in parts.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

VERSION: Final = 1
SUBPROTOCOL: Final = "stepwell.v1"
PATH: Final = "/api/workflows/worker"
MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""One WebSocket message, in either direction."""
FRAME_BYTES_MAX: Final = 128 * 1024 * 1024
"""One frame in parts: the history of a run, at most."""
DRAIN: Final = "drain"
"""The reason of an ``Interrupt`` that leaves the worker time."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Text: TypeAlias = Annotated[str, Meta(max_length=200)]
Id: TypeAlias = Annotated[str, Meta(max_length=4_096)]
"""An operation's identity names its whole branch."""


class _Frame(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    pass


class WireEvent(_Frame):
    """An event that is to be recorded."""

    type: Text
    at: Count
    step_id: Id = ""
    name: Text = ""
    payload: Raw = Raw(b"{}")


class WireStored(_Frame):
    """An event of a history."""

    seq: int
    type: str
    at: int
    step_id: str = ""
    name: str = ""
    payload: Raw = Raw(b"{}")


class WireMessage(_Frame):
    """A message of a run's mailbox."""

    seq: int
    kind: str
    name: str
    id: str
    at: int
    payload: Raw = Raw(b"null")


class WireWaiting(_Frame):
    """What a run waits for, and when it is due at the latest (absent: only a message wakes it)."""

    on: Raw
    wake_at: Count | None = None


class WireEnding(_Frame):
    """The run ends with this event."""

    status: Annotated[str, Meta(pattern="^(completed|failed|cancelled)$")]
    event: WireEvent


# -- from the worker


class Hello(_Frame, tag="hello"):
    """The first frame of a connection. With ``session`` the worker goes on with what ``holds`` names."""

    versions: list[int]
    workflows: Annotated[list[tuple[Text, Text]], Meta(max_length=1_000)]
    credit: Count = 0
    agent: Text = ""
    session: Text = ""
    holds: list[tuple[Text, Count]] = []
    is_draining: bool = False
    retention: Annotated[list[tuple[Text, Text, Count]], Meta(max_length=1_000)] = []


class WireWrite(_Frame):
    """What is to become of one record."""

    action: Literal["create", "update", "upsert", "delete"]
    id: Text
    data: Raw = Raw(b"{}")
    if_match: Text | None = None


class WireWriting(_Frame):
    """Records to be written along with the progress, which its event number ``place``, from 0, tells of."""

    place: Count
    collection: Text
    writes: Annotated[list[WireWrite], Meta(min_length=1, max_length=1_000)]
    is_one: bool = False


class ProgressFrame(_Frame, tag="progress"):
    """What a run has to record. ``no`` counts from 1 for each run and turn; the next is sent once this one is settled."""

    run_id: Text
    turn: Count
    no: Count
    events: list[WireEvent] = []
    mailbox_consumed: Count = 0
    consumed: list[tuple[Count, Text]] = []
    quiet: list[WireEvent] = []
    beyond: Count = 0
    undoing: WireEvent | None = None
    has_outcome: bool = False
    undo: Count = 0
    writings: list[WireWriting] = []
    awaits: list[Text] = []
    waiting: WireWaiting | None = None
    suspend: WireWaiting | None = None
    misfit: bool = False
    release: bool = False
    final: WireEnding | None = None


class Done(_Frame, tag="done"):
    """The worker holds this assignment no more. If nothing that it recorded let go of the run, the server hands it back."""

    run_id: Text
    turn: Count


class Room(_Frame, tag="room"):
    """How many assignments the server may have sent on this connection in all, those before included."""

    credit: Count


class Beat(_Frame, tag="beat"):
    """The worker lives. Answered by ``Lease``."""

    no: Count


class Drain(_Frame, tag="drain"):
    """No more runs for this worker."""


class Bye(_Frame, tag="bye"):
    """The worker leaves: what it holds is handed back, then the server says the same and closes."""


class Part(_Frame, tag="part"):
    """A piece of a frame that is longer than a message may be. The texts of all, up to the last, are the frame."""

    text: str
    last: bool = False


# -- from the server


class Limits(_Frame):
    """What the server takes, and how long it waits."""

    message_bytes_max: int = 0
    payload_bytes_max: int = 0
    depth_max: int = 0
    silence_ms: int = 0
    """A worker that holds runs and says nothing for so long has lost them."""
    writings_max: int = 0
    """How many ``writings`` a progress may have. A server that does not know them says nothing of them."""


class Welcome(_Frame, tag="welcome"):
    """The answer to a hello that was understood."""

    version: int
    session: str
    limits: Limits
    now: int
    resumed: bool = False


class Assign(_Frame, tag="assign"):
    """A run for the worker, with all that is recorded of it."""

    run_id: str
    turn: int
    workflow: str
    version: str
    attempt: int
    seed: str
    max_events: int
    seq: int
    started_at: int
    input: Raw = Raw(b"null")
    parent_run_id: str | None = None
    tags: list[str] = []
    deadline: int | None = None
    tries: int = 0
    mailbox_consumed: int = 0
    history: list[WireStored] = []
    messages: list[WireMessage] = []


class Settled(_Frame, tag="settled"):
    """A progress was committed; or, with ``refused``, nothing of it was done."""

    run_id: str
    turn: int
    no: int
    seq: int
    mailbox_seq: int = 0
    quiet: bool = False
    asked: Literal["", "pause", "end"] = ""
    refused: str = ""
    written: list[WireEvent] = []


class Deliver(_Frame, tag="deliver"):
    """Messages for a run that the worker holds, in order; some may be known already."""

    run_id: str
    turn: int
    messages: list[WireMessage]


class Interrupt(_Frame, tag="interrupt"):
    """The run is no longer this worker's: drop it, write nothing. With the reason ``drain`` it still is: begin no more bodies,
    and release it once none is under way."""

    run_id: str
    turn: int
    reason: str


class Lease(_Frame, tag="lease"):
    """The answer to a beat. Bodies may start for ``ms`` from when that beat was sent; ``now`` is the server's time."""

    no: int
    ms: int
    now: int


class Farewell(_Frame, tag="bye"):
    """The server has nothing more to say."""


Up: TypeAlias = Hello | ProgressFrame | Done | Room | Beat | Drain | Bye | Part
Down: TypeAlias = Welcome | Assign | Settled | Deliver | Interrupt | Lease | Farewell | Part
