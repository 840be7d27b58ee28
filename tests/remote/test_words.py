"""Frames carry everything that passes between an executor and the engine, and nothing gets lost in them."""

import json

import msgspec
import pytest

from stepwell.progress import (
    Assignment,
    Final,
    Message,
    NewEvent,
    Progress,
    Recorded,
    RecordWrite,
    Refused,
    StoredEvent,
    Waiting,
    WriteRecords,
    Writing,
)
from stepwell.remote.frames import MESSAGE_BYTES_MAX, Beat, Drain, ProgressFrame, WireEvent
from stepwell.remote.packing import Joiner, encode, pack
from stepwell.remote.words import (
    assign_frame,
    progress_frame,
    read_assign,
    read_progress,
    read_settled,
    settled_frame,
)

EVENT = NewEvent("step_completed", "parallel#0/2/a#1", "a", '{"result":12345678901234567890123, "attempt":1}', 17)
WRITE = RecordWrite(action="upsert", id="i", data='{"n":12345678901234567890123}', if_match="2026-01-01T00:00:00.000Z")
GONE = RecordWrite(action="delete", id="g")
FULL = Progress(
    run_id="r", turn=3, events=[EVENT, EVENT], mailbox_consumed=2, consumed=[(1, "m-1"), (2, "m-2")], quiet=[EVENT], beyond=1,
    undoing=EVENT, has_outcome=True, undo=2, awaits=["other"], waiting=Waiting('{"kind":"sleep"}', 5),
    writings=[
        Writing(place=1, request=WriteRecords(collection="c", writes=[WRITE, GONE], write_id="")),
        Writing(place=2, request=WriteRecords(collection="d", writes=[WRITE], write_id="", is_one=True)),
    ],
    suspend=Waiting('{"kind":"hook"}', None), misfit=True, release=True, final=Final(4, EVENT),
)  # fmt: skip
ASSIGNMENT = Assignment(
    run_id="r", turn=3, workflow="w", version="", attempt=2, parent_run_id="p", tags=["t"], input='{"a": 1e3}', seed="s",
    max_events=9, seq=4, started_at_ms=5, deadline_ms=6, tries=1, mailbox_consumed=2,
    history=[StoredEvent(1, "run_created", "", "", "{}", 1)], messages=[Message(3, "signal", "go", "id", "null", 2)],
)  # fmt: skip


def test_a_progress_is_what_it_was_when_it_has_passed():
    unset = [field for field in Progress.__struct_fields__ if getattr(FULL, field) == getattr(EMPTY, field)]
    # What a worker does not say: that it is lost.
    assert set(unset) == {"lost"}, "or what this test forgets to set"
    assert read_progress(passed(progress_frame(FULL, 7))) == FULL
    assert read_progress(passed(progress_frame(EMPTY, 7))) == EMPTY


EMPTY = Progress(run_id="", turn=0, events=[], mailbox_consumed=0, consumed=[], quiet=[], awaits=[], writings=[])


def passed(frame: ProgressFrame) -> ProgressFrame:
    (back,) = [each for message in pack([encode(frame)]) for each in Joiner().up(message)]
    assert isinstance(back, ProgressFrame)
    assert back.no == 7
    return back


def test_an_assignment_is_what_it_was_when_it_has_passed():
    assert all(getattr(ASSIGNMENT, field) not in ((), [], 0) for field in Assignment.__struct_fields__)
    frame = msgspec.json.decode(encode(assign_frame(ASSIGNMENT)), type=type(assign_frame(ASSIGNMENT)))
    assert read_assign(frame) == ASSIGNMENT


OUTCOMES = [
    Recorded(4, 2, True, "end", [EVENT]), Recorded(1, 0, False, written=[]), Refused("guard", 0), Refused("limit", 9),
]  # fmt: skip


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_is_what_it_was_when_it_has_passed(outcome: Recorded | Refused):
    assert read_settled(settled_frame("r", 1, 1, outcome)) == outcome


@pytest.mark.parametrize("text", ["x" * 3_000_000, '"\\' * 700_000, "\u00e9\U0001f600\n" * 400_000])
def test_a_frame_that_is_longer_than_a_message_travels_in_parts(text: str):
    long = ProgressFrame("r", 1, 7, [WireEvent("step_completed", 1, payload=msgspec.Raw(json.dumps(text, ensure_ascii=False)))])
    messages = list(pack([encode(Beat(1)), encode(long), encode(Beat(2))]))
    assert max(len(message.encode()) for message in messages) <= MESSAGE_BYTES_MAX
    joiner = Joiner()
    frames = [frame for message in messages for frame in joiner.up(message)]
    assert [encode(frame) for frame in frames] == [encode(Beat(1)), encode(long), encode(Beat(2))]


def test_between_the_parts_of_a_frame_a_worker_says_that_it_lives_and_nothing_else():
    long = encode(ProgressFrame("r", 1, 7, [WireEvent("step_completed", 1, payload=msgspec.Raw(json.dumps("x" * 3_000_000)))]))
    first, *rest = pack([long])
    joiner = Joiner()
    assert list(joiner.up(first)) == []
    assert list(joiner.up("[" + encode(Beat(1)).decode() + "]")) == [Beat(1)]
    with pytest.raises(ValueError, match="between the parts"):
        list(joiner.up("[" + encode(Drain()).decode() + "]"))
    assert [encode(frame) for message in rest for frame in joiner.up(message)] == [long]


def test_parts_without_an_end_are_refused():
    joiner = Joiner(bytes_max=1_000)
    message = '[{"type":"part","text":"' + "x" * 100 + '"}]'
    for _ in range(10):
        assert list(joiner.up(message)) == []
    with pytest.raises(ValueError, match="more than 1000"):
        list(joiner.up(message))
