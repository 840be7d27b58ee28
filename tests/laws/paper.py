"""A plain model of runs: what each should be after what was done to it, worked out on paper. It knows nothing of stepwell.

A run is a list of operations, gone through one after the other; time stands still but when it is moved, by half hours. Everything
that can happen has happened when an action is over, as long as a worker is at work.
"""

import copy
from collections import Counter
from typing import Any, Final

HOUR_MS: Final = 3_600_000
HOOK_MS: Final = 3 * HOUR_MS
OVER: Final = ("completed", "failed", "cancelled")
OPERATIONS: Final = ("step", "undoable", "flaky", "again", "signal", "late", "sleep", "hook", "child", "emit")
"""``flaky`` fails the run's first attempt, ``again`` the step's; ``late`` is a wait for a signal with a time-out."""


class Conflict(Exception):
    """The action must be refused."""


class PaperRun:
    """One run."""

    def __init__(self, run_id: str, operations: list[str], *, timeout_ms: int | None = None, parent: str | None = None) -> None:
        self.run_id = run_id
        self.operations = operations
        self.timeout_ms = timeout_ms
        self.parent = parent
        self.status = "pending"
        self.attempt = 1
        self.is_started = False
        self.results: list[Any] = []
        self.due: dict[int, int] = {}
        """When the wait of an operation is over, by its place."""
        self.waited: set[int] = set()
        """The operations that are recorded to wait for a time."""
        self.answers: dict[int, Any] = {}
        """Of hooks: by their operation's place."""
        self.signals: list[Any] = []
        self.unread: list[Any] = []
        self.unsure: Counter[str] = Counter()
        """Of the messages in ``shape`` those that it need not have read: somebody saw first that its deadline had passed."""
        self.undo: list[int] = []
        self.is_undone = False
        self.ending = ""
        self.deadline: int | None = None
        self.shape: Counter[str] = Counter()
        """How many events of the types that count there are."""

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def place(self) -> int:
        return len(self.results)

    def operation(self) -> str:
        """Return the operation that it is at; nothing behind the last."""
        return self.operations[self.place] if self.place < len(self.operations) else ""


class Paper:
    """All runs, the clock, and whether a worker is at work."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.is_working = False
        self.runs: dict[str, PaperRun] = {}

    # -- what is done from outside

    def trigger(self, run_id: str, operations: list[str], timeout_ms: int | None) -> None:
        self.runs.setdefault(run_id, PaperRun(run_id, operations, timeout_ms=timeout_ms))

    def signal(self, run: PaperRun, payload: int) -> None:
        self._takes_messages(run)
        run.unread.append(payload)

    def answer(self, run: PaperRun, payload: int) -> None:
        """Answer the hook that the run asked last."""
        place = self.hook(run)
        assert place is not None
        if place in run.answers:
            raise Conflict("answered")
        self._takes_messages(run)
        if self.now_ms >= run.due[place]:
            raise Conflict("expired")
        run.answers[place] = payload
        run.unread.append(None)

    @staticmethod
    def hook(run: PaperRun) -> int | None:
        """Return the place of the hook that was asked last."""
        return max((place for place in run.due if run.operations[place] == "hook"), default=None)

    @staticmethod
    def _takes_messages(run: PaperRun) -> None:
        if run.is_over or run.ending:
            raise Conflict("over")

    def emit(self, run: PaperRun) -> None:
        if run.is_over:
            raise Conflict("over")
        run.shape["noted"] += 1

    def cancel(self, run: PaperRun) -> None:
        if run.is_over or run.ending:
            return
        child = self._awaited(run)
        if run.undo:
            run.ending = "cancelled"
            if run.status == "paused":
                run.status = "running"
        else:
            self._end(run, "cancelled")
        if child is not None:
            self.cancel(child)

    def pause(self, run: PaperRun) -> None:
        if run.is_over:
            raise Conflict("over")
        if run.status != "paused":
            run.status = "paused"
            run.shape["run_paused"] += 1

    def resume(self, run: PaperRun) -> None:
        if run.status != "paused":
            raise Conflict("not paused")
        run.status = "running" if run.is_started else "pending"
        run.shape["run_resumed"] += 1

    def retry(self, run: PaperRun) -> None:
        if run.status != "failed" or run.is_undone:
            raise Conflict("not to be retried")
        if run.parent is not None and self.runs[run.parent].is_over:
            raise Conflict("parent over")
        self._revive(run)

    def _revive(self, run: PaperRun) -> None:
        run.status, run.attempt, run.ending, run.deadline = "running", run.attempt + 1, "", None
        run.unsure.clear()
        run.shape["run_resumed"] += 1
        child = self._child(run)
        if child is not None and child.status == "failed" and not child.is_undone and run.shape["failed by child"]:
            self._revive(child)
        run.shape["failed by child"] = 0

    def fork(self, run: PaperRun, run_id: str) -> None:
        """Share what is recorded; what is open begins anew, but for sleeps and delays."""
        new = copy.deepcopy(run)
        new.run_id, new.parent, new.status, new.attempt = run_id, None, "pending", 1
        new.is_started = new.is_undone = False
        new.ending, new.deadline, new.unread = "", None, []
        new.undo = []  # what is shared was done by the other run, and is undone by it
        new.shape = Counter({kind: count for kind, count in run.shape.items() if kind in SHARED})
        # Attempts that failed before the last are a part of what is shared.
        new.shape["run_failed"] = run.shape["run_failed"] - (run.status == "failed")
        place, operation = run.place, run.operation()
        if operation in ("late", "hook") and place in new.waited and place not in new.answers:
            new.waited.discard(place)
            new.due[place] = self.now_ms + HOOK_MS
            if operation == "late":
                del new.due[place]
        self.runs[run_id] = new

    # -- what follows by itself

    def settle(self) -> None:
        """Let everything happen that can."""
        has_moved = self.is_working
        while has_moved:
            has_moved = sum(self._go_on(run) for run in list(self.runs.values())) > 0

    def _child(self, run: PaperRun) -> PaperRun | None:
        return self.runs.get(child_id(run)) if run.operation() == "child" else None

    def _awaited(self, run: PaperRun) -> PaperRun | None:
        child = self._child(run)
        return child if child is not None and not child.is_over else None

    def _end(self, run: PaperRun, status: str) -> None:
        run.status, run.ending = status, ""
        run.shape[f"run_{status}"] += 1

    def _go_on(self, run: PaperRun) -> bool:
        """Let a run go on as far as it can; tell whether something has changed."""
        is_late = run.deadline is not None and self.now_ms >= run.deadline
        if run.is_over or (run.status == "paused" and not is_late):
            return False
        before = (run.status, run.place, len(run.unread), dict(run.due), run.is_started, run.ending)
        if not run.is_started:
            run.is_started = True
            run.shape["run_started"] += 1
        run.status = "running"
        if run.timeout_ms is not None and run.deadline is None and not run.ending:
            run.deadline = self.now_ms + run.timeout_ms
        if not run.ending:
            if is_late:
                run.ending = "failed"
                run.unsure.update(_kind(payload) for payload in run.unread)
            self._read(run)
        while not run.ending:
            if run.place == len(run.operations):
                self._end(run, "completed")
                return True
            if not self._do(run):
                break
        if run.ending and self._awaited(run) is None:
            run.is_undone = bool(run.undo)
            run.shape["compensation_completed"] += len(run.undo)
            self._end(run, run.ending)
        return before != (run.status, run.place, len(run.unread), dict(run.due), run.is_started, run.ending)

    @staticmethod
    def _read(run: PaperRun) -> None:
        for payload in run.unread:
            run.shape[_kind(payload)] += 1
            if payload is not None:
                run.signals.append(payload)
        run.unread.clear()

    def _do(self, run: PaperRun) -> bool:
        """Do one operation; False if it is to be waited for, or fails."""
        place, operation = run.place, run.operation()
        if operation in ("step", "undoable"):
            run.shape["step_completed"] += 1
            if operation == "undoable":
                run.undo.append(place)
            run.results.append(operation)
            return True
        if operation == "emit":
            run.shape["noted"] += 1
            run.results.append(operation)
            return True
        if operation == "flaky":
            return self._flaky(run)
        if operation == "child":
            return self._run_child(run)
        return self._wait(run, place, operation)

    @staticmethod
    def _flaky(run: PaperRun) -> bool:
        if run.attempt == 1:
            run.shape["step_failed"] += 1
            run.ending = "failed"
            return False
        run.shape["step_completed"] += 1
        run.results.append("flaky")
        return True

    def _run_child(self, run: PaperRun) -> bool:
        child = self.runs.get(child_id(run))
        if child is None:
            self.runs[child_id(run)] = PaperRun(child_id(run), ["flaky", "signal"], parent=run.run_id)
            return False
        if child.status == "completed":
            run.results.append(child.results)
            return True
        if child.is_over:
            run.shape["failed by child"] = 1
            run.ending = "failed"
        return False

    def _wait(self, run: PaperRun, place: int, operation: str) -> bool:
        if operation in ("signal", "late") and run.signals:
            run.results.append(run.signals.pop(0))
            return True
        if operation == "signal":
            return False
        if place not in run.due:
            run.due[place] = self.now_ms + (HOOK_MS if operation == "hook" else HOUR_MS)
            if operation == "again":
                run.shape["step_retrying"] += 1
            if operation == "hook":
                run.shape["hook_created"] += 1
        if operation == "hook" and place in run.answers:  # it need not wait: a fork was answered before it began
            run.results.append(run.answers[place])
            return True
        if operation != "again" and place not in run.waited:
            run.waited.add(place)
            run.shape["sleep_started"] += 1
        if self.now_ms < run.due[place]:
            return False
        kind, result = TIMED[operation]
        run.shape[kind] += 1
        run.results.append(result)
        return True


TIMED: Final = {
    "again": ("step_completed", "again"),
    "late": ("signal_timed_out", None),
    "sleep": ("sleep_completed", "sleep"),
    "hook": ("hook_expired", None),
}
"""What is recorded when the time of an operation has come, and its result."""

SHARED: Final = (
    "sleep_started", "step_completed", "step_retrying", "signal_received", "hook_created", "hook_executed", "signal_timed_out",
    "sleep_completed", "hook_expired", "noted",
)  # fmt: skip
"""Of what a fork takes along."""

COUNTED: Final = (*SHARED, "compensation_completed", "run_completed", "run_cancelled", "run_failed")
"""The types of events whose number is compared."""


def _kind(payload: Any) -> str:
    """Return how a message is transcribed: an answer to a hook is kept as None."""
    return "hook_executed" if payload is None else "signal_received"


def child_id(run: PaperRun) -> str:
    return f"{run.run_id}.{run.place}"
