"""Records that a workflow's body writes, and the events that record what became of that, composed in the commit of both."""

from typing import Final

import msgspec

from stepwell.errors import StepwellError, qualified_name
from stepwell.progress import NewEvent, Outcome, Progress, Recorded, Writing
from stepwell.store import drafts
from stepwell.store.drafts import Page
from stepwell.store.plans import Plan
from stepwell.store.recording import Recording
from stepwell.store.records import Written

_encode: Final = msgspec.json.Encoder().encode


def record_and_write(page: Page, recording: Recording, progress: Progress) -> Plan[Outcome]:
    """Do what a progress asks of records, and record what became of it: both, or neither."""
    if drafts.refusal(page, progress) is not None:
        return drafts.record(page, progress)
    events, written = list(progress.events), list[NewEvent]()
    for writing in progress.writings:
        refused = writing.refused
        done = (yield from recording.write(writing.request)) if refused is None else Written([], refused)
        events[writing.place] = event_of(events[writing.place], writing, done)
        written.append(events[writing.place])
    outcome = drafts.record(page, msgspec.structs.replace(progress, events=events))
    assert isinstance(outcome, Recorded)
    return outcome._replace(written=written)


def event_of(asked: NewEvent, writing: Writing, written: Written) -> NewEvent:
    """Return the event: the step is completed with the record (null where it was deleted), or failed with the error."""
    rest = f'"attempt":1,"startedAt":{asked.at_ms},"durationMs":0{f",{asked.payload[1:]}" if asked.payload != "{}" else "}"}'
    if written.error is not None:
        return asked._replace(type="step_failed", payload=f'{{"error":{_failure(written.error, asked.name)},{rest}')
    texts = [text for text in written.records if text is not None]
    if writing.request.is_one:
        result = texts[0] if texts else "null"
    else:
        result = f"[{','.join(texts)}]" if texts else "null"
    return asked._replace(type="step_completed", payload=f'{{"result":{result},{rest}')


def _failure(error: StepwellError, step: str) -> str:
    kinds = [qualified_name(kind) for kind in type(error).__mro__ if kind is not object]
    record = {"type": kinds[0], "message": str(error), "kinds": kinds, "step": step, "attempts": 1, "traceback": None}
    return _encode(record).decode()
