"""The Engine: what clients and workers can ask for, wherever the engine runs. The middle of the house.

It has two faces. Clients trigger runs, look at them and talk to them. Workers open a session, are assigned runs, and hand over
progress. Payloads pass as JSON texts; they were checked and encoded before.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from stepwell.clock import Alarm
from stepwell.engine.record_calls import Records
from stepwell.errors import StepwellError
from stepwell.model import Event, Hook, Page, Run, Stats, Status
from stepwell.progress import Assignment, Held
from stepwell.settings import Settings


class SignalRequest(msgspec.Struct, kw_only=True):
    """A named message for a run. ``signal_id`` is drawn by the client before its first attempt."""

    name: str
    payload: str
    signal_id: str


class TriggerRequest(msgspec.Struct, kw_only=True):
    """A run to be made. ``run_id`` is drawn by the client before its first attempt."""

    workflow: str
    version: str | None
    input: str
    run_id: str
    idempotency_key: str | None = None
    parent_run_id: str | None = None
    tags: list[str] = []
    priority: int = 0
    delay_ms: int = 0
    start_at_ms: int | None = None
    max_events: int | None = None
    execution_timeout_ms: int | None = None
    signal: SignalRequest | None = None


class ForkRequest(msgspec.Struct, kw_only=True):
    """A fork to be made. ``run_id`` is drawn by the client before its first attempt; None elsewhere: as the source has it."""

    run_id: str
    from_event: int | None = None
    """The last event that is shared. None: all that a fork can share."""
    input: str | None = None
    """A JSON text."""
    version: str | None = None


class UpdateRequest(msgspec.Struct, kw_only=True):
    """What is to be changed of a run; None leaves what there is."""

    tags: list[str] | None = None
    priority: int | None = None
    max_events: int | None = None
    execution_timeout_ms: int | None = None


class RunFilter(msgspec.Struct, kw_only=True):
    """Which runs to list; None does not restrict. Newest first."""

    workflow_name: str | None = None
    status: Status | None = None
    parent_run_id: str | None = None
    tags: Sequence[str] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    include: Sequence[str] = ()


class MadeHook(NamedTuple):
    """A hook, and whether it was made now."""

    hook: Hook
    created: bool


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A live node that executes runs, as it describes itself."""

    node_id: str
    pid: int = 0
    host: str = ""
    workflows: list[tuple[str, str]] = []
    """Each ``[name, version]``; "" for no version."""


class InFlight(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many runs of a workflow are not over."""

    workflow_name: str
    version: str | None
    pending: int = 0
    running: int = 0
    """Those that wait or sleep included."""
    paused: int = 0


class Worker(Protocol):
    """What executes runs, as its session sees it."""

    @property
    def retention(self) -> Mapping[tuple[str, str], int]:
        """How many ms runs are kept once they are over, of those workflows that do not keep them for ever."""
        ...

    def room(self) -> int:
        """How many runs could be assigned now."""
        ...

    def assigned(self, assignment: Assignment) -> Held:
        """Begin to execute a run."""
        ...


class Session(Protocol):
    """A worker's connection to the engine."""

    offer: Callable[[Held], None]
    """The run has progress; it is asked for it when the next commit is made."""

    @property
    def writings_max(self) -> int:
        """How many ``writings`` a progress may have. 0: none, because who is at the other end does not know them."""
        ...

    def let_go(self, held: Held) -> None:
        """The worker holds the run no more."""
        ...

    def has_room(self) -> None:
        """There is room: said once the worker has the session, and whenever there is some again."""
        ...

    def may_start(self) -> bool:
        """Whether the lease under which runs are held certainly is not over: asked before each body."""
        ...

    def lease_left_ms(self) -> int:
        """How long that lease certainly holds from now on; below zero, it may be over."""
        ...

    async def until_may_start(self) -> None:
        """Renew the lease. Returns when it holds; never, if it cannot be had: the runs are interrupted then."""
        ...

    async def until_lost(self) -> None:
        """Return once nothing more of what is held can be recorded, because nobody is there who would; else never."""
        ...

    def stop_assigning(self) -> None:
        """No more runs for this session."""
        ...

    async def close(self, *, is_lost: bool = False) -> None:
        """End the session. What it still holds is handed back first, due at once; if the worker is lost, what it executed
        counts as interrupted."""
        ...


class Engine(Protocol):
    """Where runs live. Every call may raise ``UnavailableError``; ids that do not exist raise ``NotFoundError``."""

    settings: Settings

    @property
    def records(self) -> Records:
        """The records of collections."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def now_ms(self) -> int:
        """The store's clock."""
        ...

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        """Call back once the store's clock has reached a time."""
        ...

    # clients

    async def trigger(self, request: TriggerRequest) -> Run[Any]:
        """Make a run, or find the one that has this id or key.

        Raises:
            ConflictError: The id or key is taken by other input; the parent is over; with a signal: the run is over.
            NotFoundError: There is no such parent.
        """
        ...

    async def execute(self, request: TriggerRequest, timeout_s: float | None) -> Run[Any]:
        """Make a run, or find the one that has this id or key, and return it when it is over.

        Raises:
            TimeoutError: It is not, after ``timeout_s``. The run goes on. And what ``trigger`` raises.
        """
        ...

    async def trigger_many(self, requests: Sequence[TriggerRequest]) -> list[Run[Any] | StepwellError]:
        """Make runs in one commit. Each request has an answer of its own: the run, or what ``trigger`` would have raised."""
        ...

    async def get_run(self, run_id: str) -> Run[Any]: ...

    async def get_runs(self, only: RunFilter, limit: int, cursor: str | None) -> Page[Run[Any]]: ...

    async def wait(self, run_id: str, timeout_s: float | None) -> Run[Any]:
        """Return the run when it is over.

        Raises:
            TimeoutError: It is not, after ``timeout_s``.
        """
        ...

    async def get_events(self, run_id: str, after: int, limit: int | None) -> list[Event]: ...

    def stream_events(self, run_id: str, after: int) -> AsyncIterator[Event]:
        """Yield events as they are recorded, until the final one."""
        ...

    async def emit_event(self, run_id: str, event_type: str, payload: str, event_id: str) -> Event:
        """Append a user's event.

        Raises:
            ConflictError: The run is over, or its history is full.
        """
        ...

    async def send_signal(self, run_id: str, signal: SignalRequest) -> bool:
        """Put a message into the run's mailbox; return False if this signal was there before.

        Raises:
            ConflictError: The run is over, or too many messages wait.
        """
        ...

    async def cancel(self, run_id: str, reason: str | None, children: bool) -> Run[Any]:
        """End a run, and the children that it waits for. One that is over already is returned as it is."""
        ...

    async def create_hook(self, run_id: str, hook_id: str, name: str, action: str, payload: str, expires_in_ms: int) -> MadeHook:
        """Make a hook, or find the one of this run that has this id.

        Raises:
            ConflictError: The run is over, or its history is full.
        """
        ...

    async def execute_hook(self, token: str, payload: str, answer_id: str) -> Hook:
        """Answer a hook.

        Raises:
            ConflictError: It was answered by another answer, or its run is over.
            HookExpired: It has expired.
        """
        ...

    async def get_hook(self, token: str) -> Hook:
        """Return the hook that a token is for."""
        ...

    async def get_hooks(self, run_id: str) -> list[Hook]:
        """Return the hooks of a run."""
        ...

    async def pause(self, run_id: str) -> Run[Any]:
        """Let a run rest until it is resumed.

        Raises:
            ConflictError: It is over.
        """
        ...

    async def retry(self, run_id: str) -> Run[Any]:
        """Let a failed run go on.

        Raises:
            ConflictError: It has not failed, or cannot go on.
        """
        ...

    async def fork(self, run_id: str, request: ForkRequest) -> Run[Any]:
        """Make a run that shares the history of another up to an event.

        Raises:
            ValidationError: ``from_event`` is no event with which a fork could begin.
            ConflictError: The new id is taken, or what is shared leaves no room in the history.
        """
        ...

    async def set_step_result(self, run_id: str, step_id: str, value: str, reason: str) -> Run[Any]:
        """Record the result of a step of a paused run by hand; ``value`` is a JSON text.

        Raises:
            ConflictError: The run is not paused, or the step is completed.
        """
        ...

    async def update_run(self, run_id: str, update: UpdateRequest) -> Run[Any]:
        """Change a run's tags, priority or limits.

        Raises:
            ConflictError: Its state does not allow it.
        """
        ...

    async def resume(self, run_id: str) -> Run[Any]:
        """Let a paused run go on.

        Raises:
            ConflictError: It is not paused.
        """
        ...

    async def why(self, run_id: str) -> str:
        """Say in one sentence why the run is not moving, with the evidence."""
        ...

    async def stats(self) -> Stats: ...

    async def in_flight(self) -> list[InFlight]:
        """Count the runs that are not over, by workflow and version. It looks at each of them."""
        ...

    async def queue_depth(self, most: int) -> int:
        """Return how many runs wait for a worker with room; counting ends at ``most``."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Return the live nodes that execute runs."""
        ...

    async def ready(self) -> None:
        """Make sure that the store can be read and written, and that the lease, where there is one, is held.

        Raises:
            UnavailableError: It is not so.
        """
        ...

    async def check(self) -> list[str]:
        """Verify the store; return what is wrong, a sentence each."""
        ...

    # workers

    async def work(self, workflows: Sequence[tuple[str, str]], worker: Worker) -> Session:
        """Open a session for workflows, each ``(name, version)``; "" for no version. Ready when it returns."""
        ...
