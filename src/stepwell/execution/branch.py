"""Lines of execution within a run, and how a call finds the one that it is made from.

A branch is the workflow function itself, a branch of ``parallel`` or ``race``, or an asyncio task that one of these started. It
hands out identities. The contextvar says where a caller is: in a branch, in the body of a step, or in no workflow at all.
"""

from contextvars import ContextVar
from typing import Any, Final, Generic, TypeVar

from stepwell.execution.identity import operation_key, pinned, step_key

E = TypeVar("E")


class Branch(Generic[E]):
    """One line of execution. ``E`` is the execution that it belongs to; ``path`` is "" or ends in a slash."""

    __slots__ = ("_ordinals", "children", "execution", "is_closed", "is_past", "now_ms", "parent", "path")

    def __init__(self, execution: E, path: str, now_ms: int, *, parent: "Branch[E] | None" = None) -> None:
        self.execution = execution
        self.path = path
        self.parent = parent
        """The branch that started this task, until the task makes its first durable call and gets its number."""
        self.now_ms = now_ms
        """When the latest operation of this branch ended, as recorded."""
        self.is_closed = False
        """A race was lost: durable calls made from here do nothing any more."""
        self.is_past = False
        """It lost a race, as is recorded: only its past is gone through again, for the compensations of its steps."""
        self.children: list[Branch[E]] = []
        self._ordinals: dict[str, int] = {}

    def ordinal(self, key: str) -> int:
        """Count a key up; return how often it was counted before."""
        ordinal = self._ordinals.get(key, 0)
        self._ordinals[key] = ordinal + 1
        return ordinal

    def step(self, name: str, key: str | None) -> str:
        """Return the identity of the next step of this name, or of the one pinned to a key."""
        own = step_key(name)
        if key is not None:
            own = pinned(own, key)
        ordinal = self.ordinal(own)
        return f"{self.path}{own}#{ordinal}" if ordinal else f"{self.path}{own}"

    def operation(self, kind: str, name: str = "") -> str:
        """Return the identity of the next operation of this kind and name: ``signal:go#1``; without a name ``sleep:1``."""
        own = operation_key(kind, name)
        ordinal = self.ordinal(own)
        if not name:
            return f"{self.path}{own}{ordinal}"
        return f"{self.path}{own}#{ordinal}" if ordinal else f"{self.path}{own}"

    def fork(self, identity: str, index: int) -> "Branch[E]":
        """Return the branch ``index`` of a ``parallel`` or ``race`` with this identity."""
        branch = Branch(self.execution, f"{identity}/{index}/", self.now_ms)
        branch.is_past = self.is_past
        self.children.append(branch)
        return branch

    def parallel(self) -> str:
        """Return the identity of the next ``parallel``."""
        return f"{self.path}parallel#{self.ordinal('parallel/')}"

    def task(self) -> "Branch[E]":
        """Return the branch of a task that is started from this one. It has no number yet."""
        return Branch(self.execution, "", self.now_ms, parent=self)

    def number(self) -> None:
        """Give a task's branch its path: tasks are numbered in the order of their first durable calls."""
        parent = self.parent
        if parent is not None:
            if parent.parent is not None:
                parent.number()
            self.parent = None
            self.path = f"{parent.path}~{parent.ordinal('~')}/"
            self.is_closed = parent.is_closed
            self.is_past = parent.is_past
            parent.children.append(self)

    def close(self) -> None:
        """Make this branch and all below it do nothing any more."""
        self.is_closed = True
        for child in self.children:
            child.close()


class StepScope:
    """The body of a step that is under way, as ``current_step()`` shows it."""

    __slots__ = ("attempt", "calls", "is_recorded", "run_id", "started_ms", "step_id", "step_name", "tail")

    def __init__(self, run_id: str, step_id: str, step_name: str, attempt: int, started_ms: int, tail: str) -> None:
        self.run_id = run_id
        """The run that the step belongs to."""
        self.step_id = step_id
        """The step's identity within the run."""
        self.step_name = step_name
        self.attempt = attempt
        """1 for the first."""
        self.started_ms = started_ms
        self.tail = tail
        """What every event of this step carries behind its own fields: JSON members, each after a comma."""
        self.is_recorded = False
        """Whether ``step_started`` is in the history."""
        self.calls = 0
        """How many calls that need a derived key were made from this body."""

    @property
    def idempotency_key(self) -> str:
        """What an idempotent step hands to a payment service: the same for every attempt."""
        return f"{self.run_id}/{self.step_id}"


current: Final[ContextVar["Branch[Any] | StepScope | None"]] = ContextVar("stepwell_current", default=None)


def current_step() -> StepScope:
    """Return the step whose body this is called from: ``.run_id, .step_id, .attempt, .idempotency_key``.

    Raises:
        LookupError: It is called from elsewhere.
    """
    scope = current.get()
    if not isinstance(scope, StepScope):
        raise LookupError("current_step() is for the body of a step that runs in a workflow")
    return scope
