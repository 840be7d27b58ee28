"""What is stored, sent and shown: runs, events, hooks, pages. Plain values without behaviour.

On the wire names are camelCase and times are RFC 3339 with ``Z``; here they are snake_case and aware datetimes in UTC.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

TAG: Final = "$stepwell"
"""The key by which a recorded Run, Event, Hook or Page is known again."""

Status: TypeAlias = Literal["pending", "running", "completed", "failed", "cancelled", "paused"]
STATUSES: Final[tuple[Status, ...]] = ("pending", "running", "paused", "completed", "failed", "cancelled")
OVER: Final[frozenset[Status]] = frozenset({"completed", "failed", "cancelled"})

WaitKind: TypeAlias = Literal["sleep", "signal", "hook", "child", "retry", "worker", "compensation", "code", "paused"]

EVENT_TYPES: Final[frozenset[str]] = frozenset({
    "run_created", "run_started", "run_completed", "run_failed", "run_cancelled", "run_paused", "run_resumed", "run_forked",
    "cancel_requested", "step_started", "step_completed", "step_failed", "step_retrying", "step_interrupted", "sleep_started",
    "sleep_completed", "signal_received", "signal_timed_out", "race_won", "hook_created", "hook_executed", "hook_expired",
    "child_started", "child_completed", "compensation_started", "compensation_completed", "compensation_failed",
    "state_set", "patch_marked",
})  # fmt: skip
"""The types of events that stepwell writes itself. All others are the user's."""


class WaitingFor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why a run is not moving. ``others`` counts what it waits for besides; ``until`` is None where no time is set."""

    kind: WaitKind
    name: str = ""
    until: datetime | None = None
    others: int = 0


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What made a run fail. ``step`` and ``traceback`` are None where there is none; the traceback is bounded."""

    type: str
    message: str
    step: str | None = None
    attempts: int = 1
    traceback: str | None = None


class Run(msgspec.Struct, Generic[R_co], frozen=True, kw_only=True, rename="camel", tag_field=TAG, tag="Run"):
    """One execution of a workflow, as it was when it was read. Lists carry ``input`` and ``output`` only if asked."""

    run_id: str
    workflow_name: str
    version: str | None = None
    status: Status
    input: Any = None
    output: Any = None
    error: str | None = None
    error_details: ErrorDetails | None = None
    parent_run_id: str | None = None
    tags: list[str] = []
    priority: int = 0
    state: Any = None
    waiting_for: WaitingFor | None = None
    attempt: int = 1
    interruptions: int = 0
    event_count: int = 0
    max_events: int = 0
    execution_timeout: int | None = None
    """Milliseconds."""
    idempotency_key: str | None = None
    cancel_reason: str | None = None
    created: bool = False
    """Whether the trigger that returned this made the run."""
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    updated_at: datetime

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.status in OVER


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field=TAG, tag="Event"):
    """One entry of a run's history. ``seq`` rises by one from 1; ``step_id`` is the operation's identity, or None."""

    event_id: str
    run_id: str
    seq: int
    event_type: str
    step_id: str | None = None
    name: str | None = None
    payload: Any = None
    created_at: datetime


class Hook(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field=TAG, tag="Hook"):
    """A token with which the outside resumes a run. Who has the token may answer: it is not shown where a hook is printed.

    By way of a server ``url`` and ``page_url`` are whole addresses; of an embedded engine they are paths on a server.
    """

    token: str
    url: str
    """For programs: GET shows what is asked, POST answers."""
    page_url: str = ""
    """For people: where they answer in a browser. The token is behind ``#``, which browsers keep to themselves."""
    run_id: str
    workflow_name: str = ""
    name: str
    action: str
    payload: Any = None
    state: Literal["open", "executed", "expired"] = "open"
    answer: Any = None
    expires: datetime | None = None

    def __repr__(self) -> str:
        return f"<hook {self.name!r} of run {self.run_id!r}: {self.action!r}, {self.state}>"


class Page(msgspec.Struct, Generic[T], frozen=True, rename="camel", tag_field=TAG, tag="Page"):
    """One page of a list; ``next_cursor`` is None on the last."""

    items: list[T]
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class RecordPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field=TAG, tag="RecordPage"):
    """One page of the records of a collection. The totals are None if they were not asked for."""

    items: list[dict[str, Any]]
    page: int
    per_page: int
    total_items: int | None = None
    total_pages: int | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class RecordChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a record: as it is now, or, if it was deleted, as it was. ``seq`` is where its collection stands then."""

    action: Literal["create", "update", "delete"]
    record: dict[str, Any]
    seq: int


class CollectionIndex(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An index of a collection. Until it is ``ready`` no query uses it."""

    fields: list[str]
    unique: bool = False
    ready: bool = True


class CollectionSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is settled for a collection."""

    name: str
    indexes: list[CollectionIndex] = []
    schema: dict[str, Any] | None = None
    created_at: datetime
    updated_at: datetime


class Stats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Counts over the whole store: runs by status, what could be claimed now, live nodes, and rare events of this node.

    Once there are more than 100,000 runs, ``runs`` is as it was counted last, which is at most a hundred times as long ago as
    counting takes, and a minute.
    """

    runs: dict[str, int]
    claimable: int
    nodes: int
    counters: dict[str, int]
