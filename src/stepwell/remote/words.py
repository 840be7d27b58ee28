"""The words of ``progress.py``, as frames say them. Pure."""

from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from stepwell.model import STATUSES
from stepwell.progress import (
    Assignment,
    Message,
    NewEvent,
    Outcome,
    Progress,
    Recorded,
    RecordWrite,
    Refused,
    StoredEvent,
    Waiting,
    WriteRecords,
    Writing,
)
from stepwell.progress import Final as Ending
from stepwell.remote.frames import (
    Assign,
    ProgressFrame,
    Settled,
    WireEnding,
    WireEvent,
    WireMessage,
    WireStored,
    WireWaiting,
    WireWrite,
    WireWriting,
)

_NUMBERS: Final[dict[str, int]] = {name: number for number, name in enumerate(STATUSES)}


def _text(payload: Raw) -> str:
    return bytes(payload).decode()


def _wire_event(event: NewEvent) -> WireEvent:
    return WireEvent(event.type, event.at_ms, event.step_id, event.name, Raw(event.payload))


def _new_event(event: WireEvent) -> NewEvent:
    return NewEvent(event.type, event.step_id, event.name, _text(event.payload), event.at)


def _wire_waiting(waiting: Waiting | None) -> WireWaiting | None:
    return None if waiting is None else WireWaiting(Raw(waiting.text), waiting.wake_at_ms)


def _waiting(waiting: WireWaiting | None) -> Waiting | None:
    return None if waiting is None else Waiting(_text(waiting.on), waiting.wake_at)


def _wire_writing(writing: Writing) -> WireWriting:
    request = writing.request
    writes = [WireWrite(each.action, each.id, Raw(each.data), each.if_match) for each in request.writes]
    return WireWriting(writing.place, request.collection, writes, request.is_one)


def _writing(writing: WireWriting) -> Writing:
    writes = [
        RecordWrite(action=each.action, id=each.id, data=_text(each.data), if_match=each.if_match) for each in writing.writes
    ]  # fmt: skip
    request = WriteRecords(collection=writing.collection, writes=writes, write_id="", is_one=writing.is_one)
    return Writing(place=writing.place, request=request)


def progress_frame(progress: Progress, no: int) -> ProgressFrame:
    """Return a progress as it is sent."""
    final = progress.final
    return ProgressFrame(
        run_id=progress.run_id, turn=progress.turn, no=no, events=[_wire_event(event) for event in progress.events],
        mailbox_consumed=progress.mailbox_consumed, consumed=list(progress.consumed), beyond=progress.beyond,
        undoing=None if progress.undoing is None else _wire_event(progress.undoing),
        quiet=[_wire_event(event) for event in progress.quiet], has_outcome=progress.has_outcome, undo=progress.undo,
        writings=[_wire_writing(writing) for writing in progress.writings],
        awaits=list(progress.awaits), waiting=_wire_waiting(progress.waiting), suspend=_wire_waiting(progress.suspend),
        misfit=progress.misfit, release=progress.release,
        final=None if final is None else WireEnding(STATUSES[final.status], _wire_event(final.event)),
    )  # fmt: skip


def read_progress(frame: ProgressFrame) -> Progress:
    """Return a progress as it was sent."""
    final = frame.final
    return Progress(
        run_id=frame.run_id, turn=frame.turn, events=[_new_event(event) for event in frame.events],
        mailbox_consumed=frame.mailbox_consumed, consumed=frame.consumed, quiet=[_new_event(event) for event in frame.quiet],
        has_outcome=frame.has_outcome, undo=frame.undo, writings=[_writing(writing) for writing in frame.writings],
        awaits=frame.awaits, waiting=_waiting(frame.waiting), suspend=_waiting(frame.suspend),
        misfit=frame.misfit, release=frame.release, beyond=frame.beyond,
        undoing=None if frame.undoing is None else _new_event(frame.undoing),
        final=None if final is None else Ending(_NUMBERS[final.status], _new_event(final.event)),
    )  # fmt: skip


def assign_frame(assignment: Assignment) -> Assign:
    """Return an assignment as it is sent."""
    return Assign(
        run_id=assignment.run_id, turn=assignment.turn, workflow=assignment.workflow, version=assignment.version,
        attempt=assignment.attempt, seed=assignment.seed, max_events=assignment.max_events, seq=assignment.seq,
        started_at=assignment.started_at_ms, input=Raw(assignment.input), parent_run_id=assignment.parent_run_id,
        tags=assignment.tags, deadline=assignment.deadline_ms, tries=assignment.tries,
        mailbox_consumed=assignment.mailbox_consumed,
        history=[WireStored(e.seq, e.type, e.at_ms, e.step_id, e.name, Raw(e.payload)) for e in assignment.history],
        messages=wire_messages(assignment.messages),
    )  # fmt: skip


def read_assign(frame: Assign) -> Assignment:
    """Return an assignment as it was sent."""
    return Assignment(
        run_id=frame.run_id, turn=frame.turn, workflow=frame.workflow, version=frame.version, attempt=frame.attempt,
        parent_run_id=frame.parent_run_id, tags=frame.tags, input=_text(frame.input), seed=frame.seed,
        max_events=frame.max_events, seq=frame.seq, started_at_ms=frame.started_at, deadline_ms=frame.deadline,
        tries=frame.tries, mailbox_consumed=frame.mailbox_consumed,
        history=[StoredEvent(e.seq, e.type, e.step_id, e.name, _text(e.payload), e.at) for e in frame.history],
        messages=read_messages(frame.messages),
    )  # fmt: skip


def wire_messages(messages: Sequence[Message]) -> list[WireMessage]:
    """Return messages as they are sent."""
    return [WireMessage(m.mailbox_seq, m.kind, m.name, m.message_id, m.at_ms, Raw(m.payload)) for m in messages]


def read_messages(messages: Sequence[WireMessage]) -> list[Message]:
    """Return messages as they were sent."""
    return [Message(m.seq, m.kind, m.name, m.id, _text(m.payload), m.at) for m in messages]


def settled_frame(run_id: str, turn: int, no: int, outcome: Outcome) -> Settled:
    """Return what became of a progress, as it is sent."""
    if isinstance(outcome, Refused):
        return Settled(run_id, turn, no, outcome.seq, refused=outcome.reason)
    written = [_wire_event(event) for event in outcome.written]
    return Settled(run_id, turn, no, outcome.seq, outcome.mailbox_seq, outcome.quiet, outcome.asked, written=written)


def read_settled(frame: Settled) -> Outcome:
    """Return it as it was sent."""
    if frame.refused:
        return Refused(frame.refused, frame.seq)
    return Recorded(frame.seq, frame.mailbox_seq, frame.quiet, frame.asked, [_new_event(event) for event in frame.written])
