"""What requests say and what answers hold, beside the models: the types that are read, and that the documentation shows."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from stepwell.durations import LONGEST_MS
from stepwell.model import Run, Status

NAME: Final = r"^[^\u0000-\u001f\u007f-\u009f]+$"
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=NAME)]
RunId: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,200}$")]
ScopeName: TypeAlias = Annotated[
    str, Meta(pattern=r"^(read|trigger|signal|operate|worker|admin|records:[^\u0000-\u001f\u007f-\u009f]{1,200}:[rw])$")
]
Reason: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1000)]
Tags: TypeAlias = Annotated[list[Name], Meta(max_length=50)]
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]
Include: TypeAlias = Literal["input", "output"]
Span: TypeAlias = (
    Annotated[str, Meta(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$", max_length=100, examples=["1h30m"])]
    | Annotated[int, Meta(ge=0, le=LONGEST_MS)]
    | Annotated[float, Meta(ge=0, le=LONGEST_MS)]
)
SpanText: TypeAlias = Annotated[
    str, Meta(pattern=r"^(([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+|[0-9]+(\.[0-9]+)?)$", max_length=100, examples=["30s"])
]
Priority: TypeAlias = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]
MaxEvents: TypeAlias = Annotated[int, Meta(ge=3, le=10_000_000)]


class _Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Read strictly."""


class SignalBody(_Body):
    """A named message for a run."""

    name: Name
    payload: Any = None
    signal_id: Name | None = None
    """Twice the same is one signal."""


class TriggerBody(_Body):
    """A run to be made."""

    workflow_name: Name
    input: Any = None
    run_id: RunId | None = None
    """Drawn if it is not given."""
    idempotency_key: Name | None = None
    """One run for all who use it, per workflow name."""
    parent_run_id: RunId | None = None
    tags: Tags | None = None
    priority: Priority = 0
    """A step is worth a minute in the queue."""
    delay: Span | None = None
    """Not together with ``startAt``. A number from 1000 upward is milliseconds, below seconds."""
    start_at: Time | None = None
    max_events: MaxEvents | None = None
    execution_timeout: Span | None = None
    """A number is milliseconds."""
    version: Name | None = None
    signal: SignalBody | None = None
    """Sent to the run in the same commit, be it new or there already; needs ``runId``."""


class BatchBody(_Body):
    """Runs to be made in one commit."""

    runs: Annotated[list[TriggerBody], Meta(min_length=1)]


class PatchBody(_Body):
    """What to change of a run. Of one that is over only ``tags`` may change, and ``status`` to ``pending``."""

    tags: Tags | None = None
    """Instead of those that it has."""
    priority: Priority | None = None
    max_events: MaxEvents | None = None
    execution_timeout: Span | None = None
    """Counted from where the present one is, else from the first start. A number is milliseconds."""
    status: Literal["paused", "running", "pending", "cancelled"] | None = None
    """``paused``, ``running`` (resume), ``pending`` (retry a failed run), ``cancelled``."""
    reason: Reason | None = None
    """Of a cancel."""


class EventBody(_Body):
    """A user's event."""

    run_id: RunId
    event_type: Name
    payload: Any = None
    event_id: Name | None = None
    """Twice the same is one event."""


class HookBody(_Body):
    """A token to be made, with which somebody outside can answer a run."""

    run_id: RunId
    name: Name
    action: Name
    payload: Any = None
    key: Name | None = None
    """The same run, name, action and key give the same hook."""
    hook_id: Annotated[str, Meta(pattern=r"^s?[0-9a-f]{24}$")] | None = None
    """Instead of a key, for clients that derive it themselves: the same run and id give the same hook."""
    expires: Span | None = None
    """Seven days if not given."""


class ForkBody(_Body):
    """A run to be made that shares the history of another."""

    from_event: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    """The number of the last event that is shared. Not given: all that can be."""
    input: Any = msgspec.UNSET
    """Instead of the source's. Not given: the source's."""
    run_id: RunId | None = None
    """Drawn if it is not given."""
    version: Name | None = None
    """The source's if it is not given."""


class KeyBody(_Body):
    """A key to be made."""

    name: Name
    """What it is for, for people."""
    scopes: Annotated[list[ScopeName], Meta(min_length=1, max_length=100)]
    """What it may do: `read`, `trigger`, `signal`, `operate`, `worker`, `records:NAME:r` and `:w` (`*` for all), `admin`."""
    workflows: Annotated[list[Name], Meta(max_length=100)] = []
    """Only workflows whose names begin with one of these; none: all."""
    expires: Span | None = None
    """From now on. It does not if it is not given."""
    triggers_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """How many runs it may make, on average, at each server. No limit if it is not given."""


class StepResultBody(_Body):
    """The result of a step, recorded by hand."""

    reason: Name
    """Kept beside it, in the history."""
    value: Any = None


class _Query(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Parameters of a URL."""


class NoQuery(_Query):
    """None at all."""


class RunQuery(_Query):
    """How to get a run."""

    wait: SpanText | None = None
    """Answer when the run is over, or after this long as it is then."""


class TriggerQuery(_Query):
    """How to trigger a run."""

    wait: SpanText | None = None
    """Answer when the run is over, or after this long as it is then. The key needs the scope `read` as well."""


class ListQuery(_Query):
    """Which runs to list, newest first."""

    workflow_name: Name | None = None
    status: Status | None = None
    parent_run_id: RunId | None = None
    tag: Tags | None = None
    """May be given several times: runs with all of them."""
    created_after: Time | None = None
    created_before: Time | None = None
    include: list[Include] = []
    """May be given several times."""
    limit: Annotated[int, Meta(ge=1, le=500)] = 20
    cursor: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    """``nextCursor`` of the page before."""


class PageQuery(_Query):
    """Which page of a list."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 20
    cursor: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    """``nextCursor`` of the page before."""


class AuditQuery(_Query):
    """Which part of the audit log."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] | None = None
    """`nextCursor` of the page before, or the `auditId` of the last entry that you have."""


class CancelQuery(_Query):
    """How to cancel."""

    reason: Reason | None = None
    children: bool = True
    """Whether the children that it waits for are cancelled too."""


class EventsQuery(_Query):
    """Which events."""

    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Events behind this number."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    ticket: Annotated[str, Meta(max_length=200)] | None = None
    """With a stream, instead of a key: what `POST /api/tickets` has made. It is good once."""


class RecordQuery(_Query):
    """How to show a record."""

    fields: Annotated[str, Meta(max_length=5_000, examples=["id,name,address.city"])] | None = None
    """Only these, parted by commas."""


class RecordsQuery(_Query):
    """Which records, in which order, and what of them."""

    page: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Pages reach 10,000 records deep; behind that, use `cursor`."""
    per_page: Annotated[int, Meta(ge=1, le=1_000)] = 30
    filter: Annotated[str, Meta(max_length=8_000, examples=["status = 'paid' && total >= 10"])] | None = None
    sort: Annotated[str, Meta(max_length=5_000, examples=["-created,name"])] | None = None
    fields: Annotated[str, Meta(max_length=5_000, examples=["id,name,address.city"])] | None = None
    """Only these, parted by commas."""
    skip_total: bool = False
    """Do not count."""
    count: Literal["only"] | None = None
    """No records: only how many there are."""
    cursor: Annotated[str, Meta(max_length=5_000)] | None = None
    """Instead of `page`: empty to begin, then `nextCursor` of the list before. Walks all records, however many."""
    after: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    """With a stream: changes behind this number."""
    ticket: Annotated[str, Meta(max_length=200)] | None = None
    """With a stream, instead of a key: what `POST /api/tickets` has made. It is good once."""


class WriteBody(_Body):
    """What is to become of one record."""

    action: Literal["create", "update", "upsert", "delete"]
    id: RunId | None = None
    """Needed for `update` and `delete`, if `data` does not have it."""
    data: dict[str, Any] = {}
    """The fields, each with its new value; those that are not named stay."""
    if_match: Annotated[str, Meta(max_length=100)] | None = None
    """The `updated` of the record as you know it: written only if that still holds."""


class WritesBody(_Body):
    """Writes to one collection, in one commit: all of them, or none."""

    writes: Annotated[list[WriteBody], Meta(min_length=1, max_length=1_000)]


class IndexBody(_Body):
    """An index that there is to be."""

    fields: Annotated[list[Name], Meta(min_length=1, max_length=8)]
    unique: bool = False


class ConfigureBody(_Body):
    """What to settle for a collection. What is not given stays."""

    indexes: Annotated[list[IndexBody], Meta(max_length=16)] | None = None
    """All that there are to be; those that are not named are dropped."""
    schema: dict[str, Any] | None = None
    """A JSON Schema that records must fit from now on; empty: none."""


class _Shown(msgspec.Struct, rename="camel"):
    """Written, never read."""


class BatchItem(_Shown, omit_defaults=True):
    """What became of one run of a batch: ``run`` with status 201 or 200, else ``problem``."""

    status: int
    run: Any = None
    problem: Any = None


class Why(_Shown):
    """Why a run is not moving."""

    run_id: str
    why: str


class Accepted(_Shown):
    """What was sent, and its id: sent again with that, it counts once."""

    run_id: str
    name: str
    signal_id: str


class RecordList(_Shown, omit_defaults=True):
    """Records. A page says where it stands; what was asked for with a cursor has the next."""

    items: list[dict[str, Any]]
    page: int | None = None
    per_page: int | None = None
    total_items: int | None = None
    total_pages: int | None = None
    next_cursor: str | None = None


class WrittenItem(_Shown):
    """What became of one record of a batch; null if it was deleted."""

    status: int
    id: str
    record: dict[str, Any] | None


class DeletedRecord(_Shown):
    """The record that is gone."""

    id: str


class Problems(_Shown):
    """What is wrong with the store, a sentence each."""

    problems: list[str]


class Definition(_Shown):
    """A workflow that live workers know. A version of null is none."""

    workflow_name: str
    versions: list[str | None]
    workers: int


class Ticket(_Shown):
    """What opens one event stream instead of a key."""

    ticket: str
    """To be shown as `?ticket=`. It is told this once, and never again."""
    expires_at: datetime
    """Until then the stream must have begun. It may go on for longer."""


class Health(_Shown, omit_defaults=True):
    """How the server is."""

    status: Literal["ok", "unavailable"]
    detail: str | None = None
    now: Time | None = None
    """What time it is there."""


Runs: TypeAlias = list[Run[Any]]
