"""A run that is executed dry: the code is called, nothing is committed, and no body of a step begins.

What stands for the worker here says at once that everything was committed, never rings, and never lets a body start. So the code
comes to rest where its history ends, as it would on a worker that is slow.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final

from stepwell.clock import Alarm
from stepwell.execution.branch import StepScope
from stepwell.execution.executor import Body, Execution
from stepwell.execution.failures import user_line
from stepwell.execution.history import Answer, History, Record, Signal, path_of
from stepwell.execution.host import Flows
from stepwell.execution.identity import kind_of
from stepwell.execution.rest import Wait
from stepwell.model import STATUSES
from stepwell.progress import WRITINGS_MAX, Assignment, NewEvent, Recorded, StoredEvent
from stepwell.settings import Settings

_FAILED: Final = STATUSES.index("failed")
_SUPPOSED_MAX: Final = 1_000
"""Code that goes round in circles is left there."""
_LATER_MS: Final = 50 * 365 * 86_400_000
_NULLS: Final = {
    "step": ("step_completed", '{"result":null}'), "sleep": ("sleep_completed", "{}"), "state": ("state_set", "{}"),
}  # fmt: skip
"""What stands for the outcome of what has none, by kind."""
_MAIL: Final = {"hook": "hook", "child": "run"}
"""The kinds of waits, and those of the messages that end them."""
_ANSWERS: Final = {"run": '{"status":"completed","final":{"output":null}}', "hook": "null"}


class Added:
    """An operation that the code asks for, and the history does not know. ``before`` is what it records behind that place."""

    __slots__ = ("before", "identity", "line")

    def __init__(self, identity: str, before: StoredEvent | None, line: str) -> None:
        self.identity = identity
        self.before = before
        self.line = line


class Misfit:
    """How code and history differ."""

    __slots__ = ("asked", "line", "recorded")

    def __init__(self, recorded: str, asked: str, line: str) -> None:
        self.recorded = recorded
        self.asked = asked
        self.line = line


class _SupposedAnswers(dict[tuple[str, str], Answer]):
    """Hooks are answered, and other runs are over."""

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, tuple) and key[:1] != ("patch",))

    def __missing__(self, key: tuple[str, str]) -> Answer:
        return Answer(_ANSWERS[key[0]], 0)


class WatchedHistory(History):
    """Tells what is asked for. One that ``supposes`` has an outcome for everything, and compares no arguments."""

    __slots__ = ("_signal", "_supposed", "added", "supposes", "waits")

    def __init__(self, events: Iterable[StoredEvent], *, supposes: bool) -> None:
        super().__init__(events)
        self.added: list[Added] = []
        self.waits: list[Added] = []
        """Waits for signals that are not there. They leave no record, so this one may have been there before, or not."""
        self.supposes = supposes
        self._supposed = 0
        self._signal = ""
        if supposes:
            self.shared_seq = 2**62
            self.answers = _SupposedAnswers(self.answers)

    @property
    def is_replaying(self) -> bool:
        """Always: so that ``ctx.log`` is silent."""
        return True

    def ask(self, identity: str) -> Record | None:
        """See ``History``."""
        record = super().ask(identity)
        kind = kind_of(identity)
        if kind == "signal":
            self._signal = identity
        elif record is None and kind != "sleep" and not self._is_answered(kind, identity):
            self.note(identity, self.added)
        if self.supposes and (record is None or record.outcome is None):
            return self._null(identity, record)
        return record

    def note(self, identity: str, places: "list[Added]") -> None:
        """The code does something here that is not recorded: if something behind it is, that is worth telling."""
        for path in _paths_in_turn(path_of(identity)):
            before = self.first_ahead(path)
            if before is not None:
                places.append(Added(identity, before, user_line()))
                return

    def _is_answered(self, kind: str, identity: str) -> bool:
        """Tell whether this is a wait for what had come before: that leaves no record."""
        if kind not in _MAIL:
            return False
        name = identity.rpartition("/")[2].partition(":")[2].partition("#")[0]
        return (_MAIL[kind], name) in self.answers

    def never_asked(self) -> StoredEvent | None:
        """Say that all was asked for: ``left`` tells afterwards what was not."""
        return None

    def _null(self, identity: str, record: Record | None) -> Record | None:
        kind = kind_of(identity)
        if kind not in _NULLS or (kind == "sleep" and record is not None) or not self._may_suppose():
            return record
        event_type, payload = _NULLS[kind]
        supposed = Record(identity)
        supposed.outcome = StoredEvent(0, event_type, identity, "", payload, self.last_ms)
        return supposed

    def _may_suppose(self) -> bool:
        self._supposed += 1
        self.supposes = self._supposed <= _SUPPOSED_MAX
        return self.supposes

    def take_signal(self, name: str) -> Signal | None:
        """See ``History``."""
        signal = super().take_signal(name)
        if signal is None:
            self.note(self._signal, self.waits)
        return Signal(0, "null", self.last_ms) if signal is None and self.supposes and self._may_suppose() else signal


class _Silent:
    """An alarm that never rings."""

    def cancel(self) -> None:
        return


class DryExecution(Execution):
    """An execution that tells how code and history differ instead of letting go of the run."""

    __slots__ = ("misfits", "watched")

    def __init__(self, assignment: Assignment, body: Body, host: "DryRun", history: WatchedHistory) -> None:
        super().__init__(assignment, body, host)
        self.history = self.watched = history
        self.misfits: list[Misfit] = []

    def record(self, event: NewEvent, *, is_step_outcome: bool = False) -> None:
        """See ``Execution``. A sleep is noticed only here: one that is over at once leaves no record."""
        if event.type == "sleep_started" and kind_of(event.step_id) == "sleep":
            self.watched.note(event.step_id, self.watched.added)
        super().record(event, is_step_outcome=is_step_outcome)

    def write(self, *args: Any, **kwargs: Any) -> "asyncio.Future[Any]":
        """Write nothing: what a body would have the store do beside its record waits here, as the body of a step does."""
        return asyncio.ensure_future(self.host.until_may_start())

    def misfit(self, *, recorded: str, asked: str, line: str) -> None:
        """See ``Execution``."""
        if not self.closed:
            self.misfits.append(Misfit(recorded, asked, line))
            self._close("misfit")
            self.host.ended(self)


def _paths_in_turn(path: str) -> Iterator[str]:
    """Yield the path of a branch, and those of the branches that wait for it. Whoever starts a task need not wait for it."""
    while path:
        yield path
        above, _, last = path.rstrip("/").rpartition("/")
        if last.startswith("~"):
            return
        path = path_of(above)
    yield path


class DryRun:
    """One time through the code of a run. Implements ``Host``."""

    def __init__(self, assignment: Assignment, body: Body, flows: Flows, *, supposes: bool) -> None:
        settings = Settings()
        self.flows = flows
        self.threads: Executor = ThreadPoolExecutor(1)
        self.payload_bytes_max = settings.payload_bytes_max
        self.depth_max = settings.depth_max
        self.writings_max = WRITINGS_MAX
        self.keep_ms = settings.keep_ms
        self.shown_ms = settings.waiting_shown_ms
        self.grace_ms = 0
        self.bodies: dict[StepScope, Execution] = {}
        self.end: tuple[int, str] | None = None
        """Status and payload of the final event, if the code came to its end."""
        self.exit: BaseException | None = None
        """What the code has raised to end the process."""
        self.is_late = False
        self.history = WatchedHistory(assignment.history, supposes=supposes)
        now_ms = max(self.history.last_ms, assignment.started_at_ms) + (_LATER_MS if supposes else 0)
        self.now_ms: Callable[[], int] = lambda: now_ms
        self.may_start: Callable[[], bool] = lambda: False
        self.offer: Callable[[Execution], None] = self._offered
        self._seq = assignment.seq
        self._loop = asyncio.get_running_loop()
        self._rested = asyncio.Event()
        self._execution = DryExecution(assignment, body, self, self.history)

    @property
    def misfits(self) -> list[Misfit]:
        """How code and history differ: the run goes no further than the first."""
        return self._execution.misfits

    async def go(self, await_s: float) -> None:
        """Call the code until it rests, or is over, or has taken too long."""
        self._execution.start()
        try:
            async with asyncio.timeout(await_s):
                await self._rested.wait()
        except TimeoutError:
            self.is_late = True
        self._execution.interrupt("closed")
        # Its tasks see that they are cancelled, and are gone before anybody looks further.
        for _ in range(3):
            await asyncio.sleep(0)
        self.threads.shutdown(wait=False)

    def _offered(self, execution: Execution) -> None:
        self._loop.call_soon(self._commit, execution)

    def _commit(self, execution: Execution) -> None:
        progress = None if self._rested.is_set() else execution.take()
        if progress is None:
            return
        if progress.final is not None:
            self.end = progress.final.status, progress.final.event.payload
        elif progress.undoing is not None:
            # What follows is the undoing, step by step: nothing of that begins here.
            self.end = _FAILED, progress.undoing.payload
            self._rested.set()
            return
        self._seq += len(progress.events) + len(progress.quiet)
        execution.settled(Recorded(self._seq, progress.mailbox_consumed, True))

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        """See ``Host``."""
        return _Silent()

    async def until_may_start(self) -> None:
        """See ``Host``."""
        await Wait(self._execution, "worker").over()

    def leave(self, error: BaseException) -> None:
        """See ``Host``."""
        self.exit = error
        self._rested.set()

    def rests(self, execution: Execution) -> bool:
        """See ``Host``."""
        self._rested.set()
        return True

    def wake(self, execution: Execution, then: Callable[[], None]) -> None:
        """See ``Host``."""
        then()

    def ended(self, execution: Execution) -> None:
        """See ``Host``."""
        self._rested.set()
