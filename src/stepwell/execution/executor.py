"""Drives one run: replays its history, goes on, waits, is let go of, ends.

An ``Execution`` runs the workflow function as a task and gathers what is to be recorded in an outbox, which the session takes
as one ``Progress`` whenever it can commit. A caller goes on as soon as its outcome is in the outbox; the body of a step starts
only when what its branch rests on is committed. So completing a step and completing the run share a commit, and still
everything that the outside saw rests on a record. No I/O here: the host has the clock, the lease, the threads, the session.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias
from typing import Final as Constant

from stepwell import codec
from stepwell.clock import Alarm
from stepwell.errors import CircuitBreakerError, ExecutionTimeoutError
from stepwell.execution.branch import Branch
from stepwell.execution.call import describe, origins_of
from stepwell.execution.failures import failure_payload, max_events_error, misfit_delay_ms, misfit_text
from stepwell.execution.history import History
from stepwell.execution.host import Host
from stepwell.execution.inbox import Inbox
from stepwell.execution.outbox import Outbox
from stepwell.execution.rest import Rest, Wait, timeout_event, waiting_text
from stepwell.execution.run_tasks import RunTasks
from stepwell.execution.tasks import look_away
from stepwell.execution.undoing import LIVE, Ending, Undo, Undoing
from stepwell.model import STATUSES
from stepwell.progress import (
    EVENTS_MAX,
    Assignment,
    Final,
    Message,
    NewEvent,
    Outcome,
    Progress,
    Refused,
    StoredEvent,
    Waiting,
    WriteRecords,
)

_log: Constant = logging.getLogger("stepwell.execution")
_COMPLETED: Constant = STATUSES.index("completed")
_FAILED: Constant = STATUSES.index("failed")


class Execution:
    """One run in the hands of a worker. Implements ``progress.Held``."""

    __slots__ = (
        "_after_suspend", "_body", "_body_ended", "_deadline", "_events_max", "_is_offered", "_last_ms", "_last_word",
        "_loop", "_seq", "_taken", "_taken_timeouts", "_timing_out", "assignment", "bodies",
        "closed", "deadline_ms", "grace_ms", "history", "host", "inbox", "is_branched", "is_draining", "is_past", "keep_ms",
        "now_ms", "outbox", "rest", "root", "run_id", "shown_ms", "starting", "tasks", "turn", "undoing", "undos", "waits",
    )  # fmt: skip

    def __init__(self, assignment: Assignment, body: "Body", host: "Host[Execution]") -> None:
        self.assignment = assignment
        self.run_id = assignment.run_id
        self.turn = assignment.turn
        self.deadline_ms = assignment.deadline_ms
        self.host = host
        self.now_ms: Callable[[], int] = host.now_ms
        self.keep_ms = host.keep_ms
        self.shown_ms = host.shown_ms
        self.grace_ms = host.grace_ms
        self.history = History(assignment.history)
        self.closed = ""
        """Empty while the run is held; then why it is not: its durable calls do nothing any more."""
        self.is_draining = False
        self.is_branched = False
        """Whether more than one branch has made durable calls: from then on who takes a signal is recorded."""
        self.bodies = 0
        self.starting = 0
        """Bodies that have not begun, and whose start is recorded: whoever has the run next would not begin them."""
        self.waits: dict[asyncio.Task[Any], Wait] = {}
        self.rest = Rest(self)
        self.outbox = Outbox()
        self._body = body
        self._seq = assignment.seq
        self._events_max = assignment.max_events - 1
        self._last_ms = max(assignment.started_at_ms, self.history.last_ms)
        self.inbox = Inbox(self, assignment.mailbox_consumed)
        self._taken: Progress | None = None
        self._is_offered = False
        # Tuples where there is seldom anything: a run that just runs makes less for the garbage collector to look at.
        self._timing_out: tuple[Wait, ...] = ()
        self._taken_timeouts: tuple[Wait, ...] = ()
        self._after_suspend: tuple[Callable[[], None], ...] = ()
        self._body_ended: asyncio.Future[None] | None = None
        self._last_word: Progress | None = None
        self.tasks = RunTasks(self._task_ended)
        self._deadline: Alarm | None = None
        self._loop = asyncio.get_running_loop()
        self.root: Here = Branch(self, "", self.history.started_ms or assignment.started_at_ms)
        self.undos: list[Undo] = []
        """The compensations of the steps that the code has gone past."""
        self.is_past = False
        """Nothing new begins any more: what is recorded is answered still, and the rest waits for the function to be stopped."""
        self.undoing: Undoing | None = None
        """Once it is decided that the run ends, and is undone before."""
        undoes = self.history.undoes
        if undoes is not None:
            self.is_past = True
            self.undoing = Undoing(self, Ending.of(undoes.type, undoes.payload), is_recorded=True)

    # -- the run's tasks

    def start(self) -> None:
        """Run the workflow function, from the beginning, against the history."""
        if not self.closed:
            self.inbox.transcribe(self.assignment.messages)
        if self.closed:
            return
        if self.deadline_ms is not None:
            self._deadline = self.host.call_at(self.deadline_ms, self._deadline_passed)
        self.tasks.spawn(self.root, self._drive())
        if self.undoing is not None:
            self.undoing.look()
        elif self.is_late():
            # Now, and not when the alarm rings: what is left of the run may need no body, and be over before.
            self._deadline_passed()

    def joined(self, task: "asyncio.Task[Any]", context: contextvars.Context) -> None:
        """A task was started by the workflow's own code."""
        if not self.closed:
            self.tasks.add(task, context)

    def _task_ended(self, task: "asyncio.Task[Any]") -> None:
        if self.closed or (self.undoing is not None and self.undoing.has_begun):
            look_away(task)
        elif self.undoing is not None and not self.tasks:
            self.undoing.begin()
        if self.waits and not self.closed:
            self.rest.look()

    async def _drive(self) -> None:
        try:
            output = await self._body(self)
            text = codec.encode(output, field="output", limit_bytes=self.host.payload_bytes_max, depth_max=self.host.depth_max)
        except (KeyboardInterrupt, SystemExit) as error:
            self.host.leave(error)
            return
        except BaseException as error:
            if self.tasks.is_thrown_away(error):
                raise
            self._fail(failure_payload(describe(error), origins_of(error)))
            return
        if self.closed or self.undoing is not None:
            return
        left = self.history.never_asked()
        if left is not None:
            self.misfit(recorded=f"{left.type} of {left.step_id!r} (event {left.seq})", asked="the end of the workflow", line="")
        else:
            self._finish(_COMPLETED, "run_completed", f'{{"output":{text}}}')

    def all_wait(self) -> bool:
        """Tell whether no task of the run can go on by itself."""
        if self.closed or self.bodies or self._timing_out or self._taken_timeouts:
            return False
        return self.tasks.all_wait(self.waits)

    # -- ending

    def _fail(self, payload: str) -> None:
        """End the run as failed, with ``run_failed``'s payload: now, or once it is undone."""
        if self.closed or self.undoing is not None:
            return
        if self.undos or self.history.compensations:
            self.is_past = True
            self.undoing = Undoing(self, Ending.of("compensation_started", payload), is_recorded=False)
            self.undoing.start()
        else:
            self._finish(_FAILED, "run_failed", payload)

    def completed(self, undo: Undo) -> None:
        """A step that has a compensation is completed, now or as is recorded."""
        if undo.order == LIVE:
            self.outbox.undo += 1
            undo = undo._replace(order=LIVE + len(self.undos))
        self.undos.append(undo)

    def stop_function(self) -> None:
        """See ``Undone.stop_function``."""
        self.root.close()
        self._timing_out = ()
        if self._deadline is not None:
            self._deadline.cancel()
        for wait in self.waits.values():
            wait.stop()
        self.tasks.cancel()

    def finish(self, ending: Ending) -> None:
        """See ``Undone.finish``."""
        if not self.closed:
            self._finish(ending.status, ending.event_type, ending.payload)

    def ends_here(self) -> bool:
        """See ``Resting.ends_here``."""
        if self.undoing is None or self.undoing.has_begun:
            return False
        self.undoing.begin()
        return True

    def _finish(self, status: int, event_type: str, payload: str) -> None:
        self._close("over")
        final = Final(status, NewEvent(event_type, "", "", payload, self.time()))
        self._say_last(Progress(run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=self.inbox.seen, final=final))

    def break_circuit(self, error: CircuitBreakerError) -> None:
        """End the run here and now: one of its limits is reached."""
        self._fail(failure_payload(describe(error)))

    def _deadline_passed(self) -> None:
        had_ms = (self.deadline_ms or 0) - self.assignment.started_at_ms
        self.break_circuit(ExecutionTimeoutError(f"execution timeout of {had_ms} ms is over"))

    def misfit(self, *, recorded: str, asked: str, line: str) -> None:
        """The code does not fit the history: write nothing, let go of the run, to be tried again later."""
        if self.closed:
            return
        text = misfit_text(recorded, asked, line)
        _log.error("run %s of workflow %s waits for code that fits. %s", self.run_id, self.assignment.workflow, text)
        self._close("misfit")
        self.outbox.drop()
        due_ms = self.time() + misfit_delay_ms(self.assignment.tries)
        let_go = Waiting(waiting_text("code", text, due_ms, 0), due_ms)
        progress = Progress(run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=0, suspend=let_go, misfit=True)
        self._say_last(progress)

    def release(self) -> None:
        """Hand the run back, due at once, with all that is recorded so far. Bodies under way are cancelled, unrecorded."""
        if self.closed or (self._taken is not None and self._taken.suspend is not None):
            return  # it is being let go of anyway
        if self.bodies:
            self._close("drained")
        else:
            self._put_away("released")
        self._say_last(Progress(run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=self.inbox.seen, release=True))

    def unreadable(self, event: StoredEvent, error: Exception) -> None:
        """An event of the history makes no sense: somebody has edited it. Let go of the run, as if the code did not fit."""
        self.misfit(
            recorded=f"{event.type} (event {event.seq}) that cannot be read ({error})", asked=repr(event.step_id), line=""
        )

    def drain(self) -> None:
        """See ``Held.drain``."""
        self.is_draining = True
        self._release_if_drained()

    def _release_if_drained(self) -> None:
        if self.is_draining and not self.bodies and not self.starting:
            self.release()

    def _say_last(self, progress: Progress) -> None:
        self._last_word = progress
        self.offer()

    def interrupt(self, reason: str) -> None:
        """See ``Held.interrupt``."""
        if not self.closed:
            self._close(reason)
        self._leave()

    def _leave(self) -> None:
        self.outbox.drop()
        self._last_word = None
        self._is_offered = True  # nothing is offered any more
        self.host.ended(self)

    def _close(self, reason: str) -> None:
        """Stop all branches where they are: they see ``CancelledError``, and their durable calls do nothing any more."""
        self._stop(reason)
        self.tasks.cancel()

    def _stop(self, reason: str) -> None:
        self.closed = reason
        self.root.close()
        self.rest.stop()
        if self._deadline is not None:
            self._deadline.cancel()
        for wait in self.waits.values():
            wait.stop()

    def _put_away(self, reason: str) -> None:
        """Throw all branches away where they wait: they see ``GeneratorExit``."""
        self._stop(reason)
        for error in self.tasks.put_away():
            _log.warning("run %s: its code raised %r while it was put away", self.run_id, error)

    # -- recording

    def time(self) -> int:
        """Return the time for the next event: the store's, but never before the last time in this run."""
        self._last_ms = max(self._last_ms, self.now_ms())
        return self._last_ms

    def record(self, event: NewEvent, *, is_step_outcome: bool = False) -> None:
        """Put an event into the outbox."""
        outbox = self.outbox
        outbox.events.append(event)
        if is_step_outcome:
            outbox.has_outcome = True
        if not self._is_offered and self._taken is None:
            self.offer()

    def write(self, event: NewEvent, request: WriteRecords) -> "asyncio.Future[NewEvent]":
        """Put an event into the outbox that is composed in the commit which writes these records; return what is it then."""
        written = self.outbox.write(event, request)
        self.outbox.has_outcome = True
        if not self._is_offered and self._taken is None:
            self.offer()
        return written

    def offer(self) -> None:
        """Tell the session that there is something to take."""
        if not self._is_offered and self._taken is None:
            self._is_offered = True
            self.host.offer(self)

    def has_room(self) -> bool:
        """Tell whether one more body may be recorded, besides those under way."""
        outbox = self.outbox
        return (
            self.undoing is not None or self._seq + outbox.committing_count + len(outbox.events) + self.bodies < self._events_max
        )

    def is_late(self) -> bool:
        """Tell whether the deadline has passed. Others may have noticed before: then the run is not what it was."""
        return self.deadline_ms is not None and self.now_ms() >= self.deadline_ms

    async def until_body_may_start(self) -> None:
        """Return when lease and history allow one more body, or the run is over instead."""
        if self.is_late():
            self._deadline_passed()
            return
        if not self.host.may_start():
            await self.host.until_may_start()
        while not self.has_room() and not self.closed:
            # What is under way may still be recorded; only when that has filled the history is this body one too many.
            if not self.bodies or self._seq + self.outbox.count >= self._events_max:
                self.break_circuit(max_events_error(self.assignment.max_events))
                return
            if self._body_ended is None:
                self._body_ended = self._loop.create_future()
            await asyncio.shield(self._body_ended)

    def started(self) -> None:
        """A body whose start is recorded begins, or never will."""
        self.starting -= 1
        if self.is_draining:
            self._loop.call_soon(self._release_if_drained)

    def body_ended(self) -> None:
        """A body is no longer under way."""
        self.bodies -= 1
        if self.is_draining and not self.bodies:
            # After the outcome of this very body is in the outbox.
            self._loop.call_soon(self._release_if_drained)
        if self._body_ended is not None:
            self._body_ended.set_result(None)
            self._body_ended = None

    def take(self) -> Progress | None:
        """See ``Held.take``."""
        self._is_offered = False
        part = self.outbox.portion()
        if part < len(self.outbox.events):
            return self._take_part(part)
        progress, rest = self._last_word, self.rest
        begins = self.undoing.to_record() if progress is None and self.undoing is not None else None
        if begins is not None:
            progress = Progress(
                run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=self.inbox.seen, undoing=begins
            )  # fmt: skip
        elif progress is None and not (self._timing_out or rest.is_resting):
            if not (self.outbox.events or self.outbox.consumed):
                return None
            progress = Progress(run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=self.inbox.seen)
        elif progress is None:
            suspend = self.rest.suspension()
            waiting = None if suspend else self.rest.to_show()
            late, room = tuple(wait for wait in self._timing_out if wait.is_open), EVENTS_MAX - part
            timeouts, self._timing_out = late[:room], late[room:]
            if not (self.outbox.events or timeouts or suspend or waiting):
                return None
            progress = Progress(run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=self.inbox.seen)
            progress.suspend, progress.waiting = suspend, waiting
            if timeouts:
                at_ms = self.time()
                for wait in timeouts:
                    wait.is_timing_out = True
                    wait.timed_out_ms = at_ms
                progress.quiet = [timeout_event(wait, at_ms) for wait in timeouts]
                self._taken_timeouts = timeouts
        self.outbox.take_into(progress)
        self._taken = progress
        return progress

    def _take_part(self, count: int) -> Progress:
        """Hand over the first of too many events. What is left goes with the next, which ``settled`` offers."""
        self._taken = progress = Progress(run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=self.inbox.seen)
        self.outbox.take_part_into(progress, count)
        if progress.beyond and self.undoing is not None:
            progress.undoing = self.undoing.to_record()  # else nobody takes more events than the history has room for
        return progress

    def settled(self, outcome: Outcome) -> None:
        """See ``Held.settled``."""
        taken, self._taken = self._taken, None
        if taken is None or self.closed in {"lost", "evicted"}:
            return
        if isinstance(outcome, Refused):
            self._refused(taken, outcome)
            return
        self._seq = outcome.seq
        self.is_past |= outcome.asked == "end"
        self.is_draining |= outcome.asked == "pause"
        if taken is self._last_word and (taken.final is None or outcome.quiet):
            self._leave()
            return
        if taken is self._last_word:
            self._reopen()  # somebody outside has decided otherwise, and the message is on its way
        if taken.undoing is not None and self.undoing is not None:
            self.undoing.settled(is_done=outcome.quiet)
        if taken.suspend is not None:
            if outcome.quiet:
                self._put_away("evicted")
                self._leave()
                return
            self.rest.refused()
        timeouts, self._taken_timeouts = self._taken_timeouts, ()
        for wait in timeouts:
            wait.is_timing_out = False
            if outcome.quiet:
                wait.end(woken=False)
            elif wait.answer in self.history.answers if wait.answer is not None else self.history.has_signal(wait.name):
                wait.end(woken=True)
            else:
                self._timing_out += (wait,)
        self.outbox.committed(outcome.written)
        self._release_if_drained()
        waiting, self._after_suspend = self._after_suspend, ()
        for then in waiting:
            self.wake(then)
        begins = self.undoing is not None and self.undoing.has_news
        if self._last_word or self.outbox.events or self._timing_out or self.rest.has_news or begins:
            self.offer()

    def _refused(self, taken: Progress, outcome: Refused) -> None:
        if outcome.reason != "limit":
            self.interrupt("lost")
            return
        if self.undos or self.history.compensations or self.undoing is not None:
            self._undo_all(taken)
            return
        room = max(0, self.assignment.max_events - 1 - outcome.seq)
        error = failure_payload(describe(max_events_error(self.assignment.max_events)))
        if not self.closed:
            self._close("over")
        self.outbox.drop()
        self._last_word = Progress(
            run_id=self.run_id, turn=self.turn, events=[], mailbox_consumed=taken.mailbox_consumed - len(taken.consumed),
            final=Final(_FAILED, NewEvent("run_failed", "", "", error, self.time())),
        )  # fmt: skip
        self.outbox.events = taken.events[:room]
        self.outbox.keep(room)
        self.offer()

    def _undo_all(self, taken: Progress) -> None:
        """The history is full, and the run is to be undone: what has happened already is recorded, though it is too much."""
        self._reopen()
        self.outbox.take_back(taken)
        self._taken_timeouts = ()
        self.rest.refused()
        if self.undoing is None:
            self._fail(failure_payload(describe(max_events_error(self.assignment.max_events))))
        else:
            self.undoing.again()
            self.offer()
        self.outbox.counted = 0

    def _reopen(self) -> None:
        """It turns out that the run has not ended."""
        if self._last_word is not None:
            self.closed, self._last_word = "", None

    # -- waiting

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> Alarm:
        """Call back at a time of the store's clock."""
        return self.host.call_at(when_ms, callback)

    def look(self) -> None:
        """Look soon whether the whole run rests."""
        self.rest.look()

    def rests(self) -> bool:
        """All branches wait."""
        return self.host.rests(self)

    def wake(self, then: Callable[[], None]) -> None:
        """Go on with ``then`` when there is room, and not while the run is being let go of."""
        if self.closed:
            return
        if self._taken is not None and self._taken.suspend is not None:
            self._after_suspend += (then,)
        else:
            self.host.wake(self, lambda: self._woken(then))

    def _woken(self, then: Callable[[], None]) -> None:
        if not self.closed:
            self.rest.end()
            then()
            self.rest.look()

    def time_out(self, wait: Wait) -> None:
        """Record that a wait's time is over, unless a message is in the mailbox already."""
        self._timing_out += (wait,)
        self.offer()

    def deliver(self, messages: Sequence[Message]) -> None:
        """See ``Held.deliver``."""
        if messages and messages[-1].mailbox_seq > self.inbox.seen:
            self.wake(lambda: self.inbox.transcribe(messages))

    def limited(self, max_events: int, deadline_ms: int | None) -> None:
        """See ``Recipient.limited``."""
        self.assignment.max_events, self._events_max = max_events, max_events - 1
        self.deadline_ms = deadline_ms
        if self._deadline is not None:
            self._deadline.cancel()
        if deadline_ms is not None and self.undoing is None:
            self._deadline = self.host.call_at(deadline_ms, self._deadline_passed)

    def decided(self, ending: Ending, event: NewEvent) -> None:
        """Somebody outside has decided on the end of the run."""
        if self.undoing is None:
            self.is_past = True
            self.undoing = Undoing(self, ending, is_recorded=True)
            self.record(event)
            self.undoing.start()
        elif not self.undoing.is_recorded:
            self.record(event)
            self.undoing.decided(ending)


Here: TypeAlias = Branch[Execution]
Body: TypeAlias = Callable[[Execution], Coroutine[Any, Any, Any]]
