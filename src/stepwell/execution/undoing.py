"""The end of a run whose completed steps have compensations: from the decision that it is to be undone to its final event.

First the past is gone through: only the code knows the compensations of what is recorded. Nothing new is done meanwhile. Then
the function is stopped where it stands, and the compensations run, last first. What decides is recorded before the first does,
so that code which is changed meanwhile does not let the run go on half undone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, Self

import msgspec

from stepwell.execution.branch import Branch
from stepwell.execution.history import History
from stepwell.execution.outbox import Outbox
from stepwell.execution.rest import Resting, Wait
from stepwell.execution.run_tasks import RunTasks
from stepwell.model import STATUSES
from stepwell.progress import NewEvent

_CANCELLED: Final = STATUSES.index("cancelled")
_FAILED: Final = STATUSES.index("failed")
LIVE: Final = 1 << 60
"""What is completed now comes behind all that is recorded."""


class Undo(NamedTuple):
    """The compensation of a completed step."""

    order: int
    """Where the completion stands among all."""
    run: Callable[[], Awaitable[None]]


class _Requested(msgspec.Struct):
    reason: str | None = None
    children: list[str] = []


_requested: Final = msgspec.json.Decoder(_Requested).decode


class Ending(NamedTuple):
    """How a run that is being undone ends."""

    status: int
    event_type: str
    payload: str
    children: Sequence[str] = ()
    """Those that were cancelled along with it: they are over before its compensations begin."""

    @classmethod
    def of(cls, event_type: str, payload: str) -> Self:
        """Return the end that a ``cancel_requested`` or ``compensation_started`` has decided on.

        Raises:
            msgspec.MsgspecError: It cannot be read.
        """
        if event_type == "cancel_requested":
            asked = _requested(payload)
            reason = msgspec.json.encode({"reason": asked.reason}).decode()
            return cls(_CANCELLED, "run_cancelled", reason, asked.children)
        msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        return cls(_FAILED, "run_failed", payload)


class Undone(Resting, Protocol):
    """A run, as its undoing sees it."""

    history: History
    outbox: Outbox
    tasks: RunTasks
    closed: str
    bodies: int
    grace_ms: int

    @property
    def undos(self) -> Sequence[Undo]: ...

    def stop_function(self) -> None:
        """Cancel the workflow's own tasks; their durable calls do nothing any more."""
        ...

    def finish(self, ending: Ending) -> None: ...

    def release(self) -> None: ...

    def misfit(self, *, recorded: str, asked: str, line: str) -> None: ...


class Undoing:
    """What becomes of one run."""

    __slots__ = ("_is_taken", "_recorded", "_run", "ending", "has_begun", "is_recorded")

    def __init__(self, run: Undone, ending: Ending, *, is_recorded: bool) -> None:
        """``is_recorded``: what decided is in the history, or in the outbox. Else it is recorded when the undoing begins."""
        self.ending = ending
        self.is_recorded = is_recorded
        self.has_begun = False
        self._run = run
        self._is_taken = False
        self._recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        run.outbox.counted = len(run.outbox.events)
        run.history.when_asked = self.look

    def start(self) -> None:
        """Begin, or go through the past first."""
        if not (self._run.history.is_replaying and self._run.bodies):
            self.look()
        elif self.is_recorded:
            # A body is under way although the past is not gone through: whoever has the run next starts none before it is.
            self._run.release()
        else:
            self.begin()

    def look(self) -> None:
        """Begin soon, if the past has been gone through by then."""
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        if not (self._run.history.is_replaying or self._run.history.compensations):
            self.begin()

    def begin(self) -> None:
        """Stop the function: it has come as far as it will."""
        if not self.has_begun and not self._run.closed:
            self._run.wake(self._begin)

    def _begin(self) -> None:
        if self.has_begun:
            return
        run = self._run
        left = next(iter(run.history.compensations.values()), None)
        if left is not None:
            recorded = f"step {left.step_id!r} with a compensation (event {left.seq})"
            run.misfit(recorded=recorded, asked="the end of the workflow, without it", line="")
            return
        self.has_begun = True
        run.stop_function()
        if not self.is_recorded:
            run.offer()
        run.tasks.spawn(Branch[Any](run, "", run.time()), self._work())

    def decided(self, ending: Ending) -> None:
        """Somebody outside has decided first."""
        if not self.is_recorded:
            self.ending, self.is_recorded = ending, True
            self._tell()

    @property
    def has_news(self) -> bool:
        """Whether there is something to record before the first compensation."""
        return self.has_begun and not (self.is_recorded or self._is_taken)

    def to_record(self) -> NewEvent | None:
        """Return what is to be recorded before the first compensation, if it is not under way."""
        if not self.has_news:
            return None
        self._is_taken = True
        return NewEvent("compensation_started", "", "", self.ending.payload, self._run.time())

    def settled(self, *, is_done: bool) -> None:
        """It was committed, or not: then a message tells who has decided."""
        self.is_recorded = self.is_recorded or is_done
        self._tell()

    def again(self) -> None:
        """It was refused along with what it came with: it goes with the next."""
        self._is_taken = False

    def _tell(self) -> None:
        if self.is_recorded and not self._recorded.done():
            self._recorded.set_result(None)

    async def _work(self) -> None:
        run = self._run
        others = run.tasks.others()
        if others:
            await asyncio.wait(others, timeout=run.grace_ms / 1000)
        if not self.is_recorded:
            await self._recorded
        for child in self.ending.children:
            if ("run", child) not in run.history.answers:
                await Wait(run, "compensation", child, answer=("run", child)).over()
        for undo in sorted(run.undos, key=lambda undo: undo.order, reverse=True):
            await undo.run()
        run.finish(self.ending)
