"""What an execution needs from the worker that runs it: the clock, the lease, threads, room, and the way to the session."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar

from stepwell.clock import Alarm
from stepwell.execution.branch import StepScope
from stepwell.model import Event, Hook, Run

E = TypeVar("E")


class Flows(Protocol):
    """``client.workflow`` of the client that the worker was given: what a context asks of runs goes through it."""

    @property
    def trigger(self) -> Callable[..., Awaitable[Run[Any]]]: ...
    @property
    def result(self) -> Callable[..., Awaitable[Any]]: ...
    @property
    def create_hook(self) -> Callable[..., Awaitable[Hook]]: ...
    @property
    def emit_event(self) -> Callable[..., Awaitable[Event]]: ...


class Host(Protocol[E]):
    """What an execution, ``E``, needs from the worker that runs it."""

    flows: Flows
    threads: Executor
    payload_bytes_max: int
    depth_max: int
    keep_ms: int
    shown_ms: int
    grace_ms: int
    bodies: dict[StepScope, E]
    """Bodies under way, the one started first at the front."""

    now_ms: Callable[[], int]
    """The store's time."""
    may_start: Callable[[], bool]
    """Whether the node's lease certainly holds."""

    @property
    def writings_max(self) -> int:
        """How many calls that write records may go into one commit with what the run records; 0: none."""
        ...

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm: ...

    offer: Callable[[E], None]
    """The execution has progress for the session."""

    async def until_may_start(self) -> None: ...

    def leave(self, error: BaseException) -> None:
        """User code asks the process to end: hand back what is held, then raise this out of the loop."""
        ...

    def rests(self, execution: E) -> bool:
        """The execution uses no room until it is woken. Returns whether there is memory to keep it."""
        ...

    def wake(self, execution: E, then: Callable[[], None]) -> None:
        """Call ``then`` as soon as there is room for the execution to go on; at once if it is not at rest."""
        ...

    def ended(self, execution: E) -> None:
        """The execution holds the run no more."""
        ...
