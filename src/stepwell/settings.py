"""Every knob, with unit, default and bound; and the only reader of the environment."""

import os
from typing import Annotated, Self, TypeVar

import msgspec
from msgspec import Meta

from stepwell.errors import ValidationError

S = TypeVar("S", bound=msgspec.Struct)
_Positive = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a node behaves. Each can be set by ``STEPWELL_<NAME>`` in the environment."""

    payload_bytes_max: _Positive = 1024 * 1024
    """An input, result, signal or event payload: its JSON text in UTF-8."""
    depth_max: _Positive = 100
    """How deep a value may nest."""
    max_events: Annotated[int, Meta(ge=3)] = 50_000
    """Events in one run's history, unless the workflow or the trigger says otherwise."""
    messages_max: _Positive = 10_000
    """Messages that wait in one run's mailbox."""
    lease_ms: Annotated[int, Meta(ge=200)] = 5_000
    """How long a node that says nothing counts as alive."""
    poll_ms: _Positive = 2_000
    """How often a node asks the store what there is to do, when nothing tells it sooner."""
    watch_ms: _Positive = 20
    """How often a node looks whether another process has written to the same SQLite file."""
    keep_ms: Annotated[int, Meta(ge=0)] = 5_000
    """How long a waiting run is kept in memory before it is evicted; a wait known to be longer is evicted at once."""
    kept_max: Annotated[int, Meta(ge=0)] = 2_000
    """How many waiting runs are kept in memory."""
    waiting_shown_ms: _Positive = 100
    """How soon after a run begins to wait its row says so."""
    step_started_ms: _Positive = 200
    """A step that runs longer than this is recorded as started."""
    cancel_grace_ms: Annotated[int, Meta(ge=0)] = 5_000
    """How long the bodies of a run that is being undone have to end, once they were told to, before its compensations begin."""
    patience_ms: _Positive = 10_000
    """How long a call waits for a store that does not answer, before ``UnavailableError``."""
    batch_operations_max: _Positive = 2_000
    """Operations in one commit."""
    batch_bytes_max: _Positive = 16 * 1024 * 1024
    """Payload bytes in one commit, roughly."""
    prune_rows_max: _Positive = 2_000
    """Rows that one commit removes of runs that are over."""
    retention_every_ms: _Positive = 60_000
    """How often a node looks for runs that have been over for longer than their workflow keeps them."""
    query_ms_max: _Positive = 2_000
    """How long a list of records may be looked for."""
    page_bytes_max: _Positive = 8 * 1024 * 1024
    """Records in one answer: their JSON texts."""
    queue_operations_max: _Positive = 20_000
    """Operations that wait for a commit; beyond it callers wait."""
    threads_max: _Positive = 64
    """Threads of a worker for steps that are plain functions."""
    quarantine_alone: _Positive = 3
    """From this many losses of its worker without a new step on, such a run executes one at a time per node."""
    quarantine_pause: _Positive = 5
    """After this many losses without a new step the run is paused."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read ``STEPWELL_*``.

        Raises:
            ValidationError: A value that is no number or out of its bound. ``field`` is the variable's name.
        """
        return _from_environment(cls, "STEPWELL_")


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server takes. Each can be set by ``STEPWELL_SERVER_<NAME>`` in the environment; errors name what was exceeded."""

    body_bytes_max: _Positive = 4 * 1024 * 1024
    """The body of a request."""
    answer_bytes_max: _Positive = 8 * 1024 * 1024
    """The items of a list, roughly: a page that would be longer is shorter, and its cursor goes on behind it."""
    url_bytes_max: _Positive = 8 * 1024
    """Path and query."""
    headers_bytes_max: _Positive = 16 * 1024
    """All headers of a request."""
    headers_max: _Positive = 100
    """How many headers a request has."""
    head_ms_max: _Positive = 10_000
    """How long the headers of a request may take to arrive."""
    body_ms_max: _Positive = 30_000
    """How long a body may take to arrive."""
    keep_alive_ms: _Positive = 15_000
    """How long an idle connection is kept."""
    connections_max: _Positive = 10_000
    """Connections at a time; beyond it requests are answered with 503."""
    wait_ms_max: _Positive = 60_000
    """The longest ``?wait=``."""
    waits_max: _Positive = 2_000
    """Long-polls and streams at a time."""
    waits_per_key_max: _Positive = 50
    """The same, of one key."""
    queue_depth_max: _Positive = 1_000_000
    """Runs that wait for a worker with room; while there are as many, triggers are answered with 429."""
    batch_max: _Positive = 1_000
    """Runs in one batch of triggers."""
    failed_keys_per_minute_max: _Positive = 20
    """Requests with a wrong key or ticket that one address may make in a minute."""
    tickets_per_key_max: _Positive = 100
    """Tickets of one key that were not used yet."""
    ticket_ms: _Positive = 30_000
    """How long a ticket is good."""
    frame_bytes_max: _Positive = 1024 * 1024
    """One WebSocket message."""
    sockets_per_key_max: _Positive = 100
    """WebSocket connections of one key."""
    worker_lease_ms: Annotated[int, Meta(ge=100)] = 800
    """For so long after its last answered heartbeat a worker may start bodies; its runs are kept for as long when it is gone."""
    worker_silence_ms: Annotated[int, Meta(ge=500)] = 5_000
    """A worker that holds runs and says nothing for so long has lost them."""
    drain_ms: Annotated[int, Meta(ge=0)] = 20_000
    """How long the bodies of connected workers may go on when the server is asked to stop; then their runs are handed back."""
    stop_ms_max: _Positive = 30_000
    """How long requests under way may take when the server is asked to stop."""
    refusals_noted_per_minute_max: _Positive = 20
    """Refused requests of one key and address that the audit log takes in a minute."""
    audit_days: _Positive = 90
    """How long the audit log is kept."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read ``STEPWELL_SERVER_*``.

        Raises:
            ValidationError: A value that is no number or out of its bound. ``field`` is the variable's name.
        """
        return _from_environment(cls, "STEPWELL_SERVER_")


def changed(settings: Settings | ServerSettings) -> dict[str, int]:
    """Return what is not as it is by default, by the names of the environment."""
    prefix = "STEPWELL_SERVER_" if isinstance(settings, ServerSettings) else "STEPWELL_"
    given, default = msgspec.structs.asdict(settings), msgspec.structs.asdict(type(settings)())
    return {f"{prefix}{name.upper()}": value for name, value in given.items() if value != default[name]}


def _from_environment(kind: type[S], prefix: str) -> S:
    given: dict[str, int] = {}
    for name in kind.__struct_fields__:
        variable = f"{prefix}{name.upper()}"
        text = os.environ.get(variable)
        if text is None:
            continue
        if not text.strip().lstrip("-").isdigit():
            raise ValidationError(f"{variable} must be a whole number, not {text!r}", field=variable)
        given[name] = int(text)
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("$.")[2].strip("`")
        raise ValidationError(f"{prefix}{field.upper()}: {error}", field=f"{prefix}{field.upper()}") from None


def url_from_environment() -> str | None:
    """Return ``STEPWELL_URL``: where the engine is, if the caller does not say."""
    return os.environ.get("STEPWELL_URL") or None


def api_key_from_environment() -> str | None:
    """Return ``STEPWELL_API_KEY``: the key that clients show to a server, and that a server takes besides those in its store."""
    return os.environ.get("STEPWELL_API_KEY") or None


def hook_key_from_environment() -> str | None:
    """Return ``STEPWELL_HOOK_KEY``: what the tokens of hooks derive from, if it does not lie beside the database."""
    return os.environ.get("STEPWELL_HOOK_KEY") or None


def environment_of_child(url: str | None) -> dict[str, str]:
    """Return the environment for a process of ours that works on the same store, or on the one of this URL."""
    return {**os.environ} if url is None else {**os.environ, "STEPWELL_URL": url}


def failpoints_from_environment() -> str:
    """Return ``STEPWELL_FAILPOINTS``: where to die, for tests."""
    return os.environ.get("STEPWELL_FAILPOINTS", "")
