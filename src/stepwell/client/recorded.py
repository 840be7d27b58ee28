"""Calls of the client that a workflow's body may make: there each is recorded as a step of its own."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from stepwell.engine.api import Engine
from stepwell.execution.branch import StepScope, current
from stepwell.execution.here import branch_here
from stepwell.execution.identity import call_key
from stepwell.execution.steps import RetryPolicy, StepSpec, run_step

T = TypeVar("T")
_PLAIN: Final = RetryPolicy()


class EngineHolder(Protocol):
    """The client that this belongs to."""

    @property
    def workflow(self) -> object:
        """Its runs: by it a worker knows the client that it was given."""
        ...

    async def engine(self) -> Engine:
        """Return the engine, opened."""
        ...


class Recorded:
    """A part of a client; ``kind`` stands before the names of its calls in histories."""

    def __init__(self, client: EngineHolder, kind: str = "workflow") -> None:
        self._client = client
        self._kind = kind

    async def _recorded(self, name: str, call: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        if branch_here() is None:
            return await call(*args, **kwargs)
        spec = StepSpec(
            name=f"{self._kind}.{name}",
            fn=call,
            policy=_PLAIN,
            timeout_ms=None,
            on_error=None,
            key=None,
            at_most_once=False,
            returns=None,
        )
        result: T = await run_step(spec, args, kwargs)
        return result


def derived(scope: StepScope) -> str:
    """Return an id for a call from the body of a step: the same when the step is tried again."""
    scope.calls += 1
    return call_key(scope.run_id, scope.step_id, scope.calls)


def derived_id() -> str | None:
    """Return such an id in a call that is recorded as a step of its own, None elsewhere."""
    scope = current.get()
    return derived(scope) if isinstance(scope, StepScope) and scope.step_name.startswith("workflow.") else None
