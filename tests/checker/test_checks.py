"""The checker is checked: a clean story passes, and each violation that is planted in it is caught by the check it is for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from stepwell.model import Event, Run
from tests.checker.check import CHECKS, check_all, not_tested, wrong_in
from tests.checker.gaps import went_on_elsewhere
from tests.checker.records import FOREVER_NS, Call, Effect, Facts, History, Trouble, is_compensation

START: Final = datetime(2026, 11, 1, tzinfo=UTC)
SECOND_NS: Final = 1_000_000_000


def at(ms: int) -> datetime:
    return START + timedelta(milliseconds=ms)


def wall(ms: int) -> int:
    return int(at(ms).timestamp() * 1000)


def rfc3339(ms: int) -> str:
    return at(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def history(run_id: str, status: Any, events: list[tuple[str, str | None, str | None, Any]], **fields: Any) -> History:
    """Events are (type, step_id, name, payload), ten milliseconds apart."""
    made = [
        Event(
            event_id=f"{run_id}/{seq}", run_id=run_id, seq=seq, event_type=kind, step_id=step_id, name=name, payload=payload,
            created_at=at(10 * seq),
        )
        for seq, (kind, step_id, name, payload) in enumerate(events, start=1)
    ]  # fmt: skip
    fields = {"workflow_name": "w", "input": 7, "max_events": 100, **fields}
    run = Run(run_id=run_id, status=status, event_count=len(made), created_at=at(10), updated_at=at(10), **fields)
    return History(run=run, events=made)


class Story:
    """Two runs: ``whole`` does everything and completes, ``ended`` is cancelled; and what was seen of them."""

    def __init__(self) -> None:
        self.facts = Facts()
        self._numbers = 0

    def call(self, op: str, run_id: str | None, began: int, ended: int | None, told: Any = None, **sent: Any) -> int:
        """A call from and to these milliseconds, acknowledged if it ended; return its place."""
        self._numbers += 1
        self.facts.calls.append(
            Call(
                pid=1, number=self._numbers, op=op, run_id=run_id, sent=sent, began_ns=began * 1_000_000,
                ended_ns=FOREVER_NS if ended is None else ended * 1_000_000, told=told,
                outcome="unknown" if ended is None else "ok",
            )
        )  # fmt: skip
        return len(self.facts.calls) - 1

    def effect(self, run_id: str, step_id: str, nonce: str, ms: int, *rests_on: str, pid: int = 11) -> None:
        self.facts.effects.append(
            Effect(
                run_id=run_id, step_id=step_id, attempt=1, nonce=nonce, rests_on=rests_on, pid=pid, at_ns=ms * 1_000_000,
                wall_ms=wall(ms), undoes=is_compensation(step_id),
            )
        )  # fmt: skip

    def change_call(self, op: str, **fields: Any) -> None:
        """Change the first call of this kind."""
        place = next(place for place, call in enumerate(self.facts.calls) if call.op == op)
        self.facts.calls[place] = msgspec.structs.replace(self.facts.calls[place], **fields)

    def change_run(self, run_id: str, **fields: Any) -> None:
        known = self.facts.histories[run_id]
        self.facts.histories[run_id] = History(run=msgspec.structs.replace(known.run, **fields), events=known.events)

    def change_event(self, run_id: str, seq: int, **fields: Any) -> None:
        events = self.facts.histories[run_id].events
        events[seq - 1] = msgspec.structs.replace(events[seq - 1], **fields)

    def drop_event(self, run_id: str, seq: int) -> None:
        """Take an event out, and close the gap."""
        events = self.facts.histories[run_id].events
        del events[seq - 1]
        events[:] = [msgspec.structs.replace(event, seq=place) for place, event in enumerate(events, start=1)]
        self.change_run(run_id, event_count=len(events))

    def add_event(self, run_id: str, kind: str, step_id: str | None = None, payload: Any = None) -> None:
        events = self.facts.histories[run_id].events
        last = events[-1]
        events.append(msgspec.structs.replace(
            last, seq=last.seq + 1, event_type=kind, step_id=step_id, name=None, payload=payload,
            created_at=last.created_at + timedelta(milliseconds=10),
        ))  # fmt: skip
        self.change_run(run_id, event_count=len(events))


def told(run_id: str, status: str, event_count: int, *, created: bool = False, attempt: int = 1, output: Any = None) -> Any:
    return {
        "run_id": run_id, "status": status, "event_count": event_count, "created": created, "attempt": attempt, "output": output
    }  # fmt: skip


OUTPUT: Final = {"saw": {"results": ["a1", "b1"], "signals": {"n": [1, 2]}}}


@pytest.fixture
def story() -> Story:
    """A story in which every check has something to look at, and nothing is wrong."""
    story = Story()
    step = {"attempt": 1, "startedAt": rfc3339(30), "durationMs": 1}
    story.facts.histories["whole"] = history(
        "whole", "completed",
        [
            ("run_created", None, None, {"input": 7, "seed": "", "maxEvents": 16}),
            ("run_started", None, None, {"attempt": 1}),
            ("step_completed", "a", "a", {"result": "a1", **step}),
            ("sleep_started", "sleep:0", None, {"until": rfc3339(45)}),
            ("sleep_completed", "sleep:0", None, {"until": rfc3339(45)}),
            ("signal_received", "signal:n", "n", {"payload": 1, "signalId": "n-1", "mailboxSeq": 1}),
            ("signal_received", "signal:n", "n", {"payload": 2, "signalId": "n-2", "mailboxSeq": 2}),
            ("noted", None, None, {"by": "me"}),
            ("hook_executed", "hook:h", "h", {"payload": "yes", "messageId": "x", "mailboxSeq": 3}),
            ("step_failed", "c", "c", {"error": {}, **step}),
            ("run_failed", None, None, {"error": {}}),
            ("run_resumed", None, None, {"attempt": 2, "voided": ["c"]}),
            ("step_completed", "c", "c", {"result": "c2", **step}),
            ("step_completed", "b", "b", {"result": "b1", **step}),
            ("step_completed", "workflow.get_run", "workflow.get_run", {"result": {"runId": "x"}, **step}),
            ("run_completed", None, None, {"output": OUTPUT}),
        ],
        output=OUTPUT, idempotency_key="k", max_events=16, attempt=2,
    )  # fmt: skip
    story.facts.histories["ended"] = history(
        "ended", "cancelled",
        [
            ("run_created", None, None, {"input": 7, "delay": 5}),
            ("run_started", None, None, {"attempt": 1}),
            ("step_completed", "a", "a", {"result": "e1", **step, "compensate": True}),
            ("cancel_requested", None, None, {"reason": None}),
            ("compensation_completed", "compensate:a", "a", {"result": "u1", **step}),
            ("run_cancelled", None, None, {"reason": None}),
        ],
    )  # fmt: skip
    story.call("trigger", None, 5, 12, told("whole", "pending", 1, created=True), workflow="w", input=7, idempotency_key="k")
    story.call("trigger", None, 5, None, workflow="w", input=7, idempotency_key="k")
    story.call("trigger", "ended", 5, 12, told("ended", "pending", 1, created=True), workflow="w", input=7)
    story.call("send_signal", "whole", 40, 50, name="n", payload=1, signal_id="n-1")
    story.call("send_signal", "whole", 51, 60, name="n", payload=2, signal_id="n-2")
    story.call("emit_event", "whole", 61, 80, {"event_id": "whole/8", "seq": 8}, event_type="noted", payload={"by": "me"})
    story.call("execute_hook", None, 81, 90, {"run_id": "whole", "state": "executed"}, token="t", payload="yes")
    story.call("get_run", "whole", 91, 110, told("whole", "failed", 11))
    story.call("retry", "whole", 111, 120, told("whole", "running", 12, attempt=2))
    story.call("get_events", "whole", 121, 130, [[1, "run_created", None], [2, "run_started", None]])
    story.call("wait", "whole", 121, 170, told("whole", "completed", 16, output=OUTPUT))
    story.call("cancel", "ended", 30, 45, told("ended", "cancelled", 6))
    refused = story.call("send_signal", "whole", 180, 190, name="n", payload=3, signal_id="n-3")
    story.facts.calls[refused] = msgspec.structs.replace(story.facts.calls[refused], outcome="error", code="conflict")
    story.effect("whole", "a", "a0", 20, pid=10)
    story.effect("whole", "a", "a1", 30)
    story.effect("ended", "a", "e1", 30)
    story.effect("ended", "compensate:a", "u1", 50, "e1")
    story.effect("whole", "c", "c1", 95)
    story.effect("whole", "c", "c2", 125)
    story.effect("whole", "b", "b1", 135, "a1", "c2")
    return story


PLANTS: Final[list[tuple[str, Callable[[Story], Any]]]] = []


def caught_by(name: str) -> Callable[[Callable[[Story], Any]], Callable[[Story], Any]]:
    """Put a violation into the table, with the check that must catch it."""

    def add(plant: Callable[[Story], Any]) -> Callable[[Story], Any]:
        PLANTS.append((name, plant))
        return plant

    return add


@caught_by("1 runs are kept")
def a_run_is_gone(story: Story) -> None:
    del story.facts.histories["ended"]
    story.facts.effects = [effect for effect in story.facts.effects if effect.run_id != "ended"]


@caught_by("1 runs are kept")
def a_run_has_other_input(story: Story) -> None:
    story.change_run("ended", input=8)


@caught_by("1 signals are kept")
def a_run_that_goes_on_never_got_its_signal(story: Story) -> None:
    story.call("send_signal", "ended", 20, 25, name="n", payload=1, signal_id="x")
    story.change_run("ended", status="running")


@caught_by("6 signals are in order and once")
def a_signal_is_missing_before_a_later_one(story: Story) -> None:
    story.drop_event("whole", 6)


@caught_by("1 events are kept")
def an_event_is_gone(story: Story) -> None:
    story.drop_event("whole", 8)


@caught_by("1 events are kept")
def an_event_is_elsewhere(story: Story) -> None:
    story.change_call("emit_event", told={"event_id": "whole/8", "seq": 7})


@caught_by("1 answers are kept")
def two_answers_were_taken(story: Story) -> None:
    story.call("execute_hook", None, 82, 92, {"run_id": "whole", "state": "executed"}, token="t", payload="no")


@caught_by("1 answers are kept")
def an_answer_is_lost(story: Story) -> None:
    story.call("execute_hook", None, 82, 92, {"run_id": "ended", "state": "executed"}, token="u", payload="no")
    story.change_run("ended", status="running")


@caught_by("1 cancels are kept")
def a_cancelled_run_goes_on(story: Story) -> None:
    story.change_run("ended", status="running")


@caught_by("1 cancels are kept")
def a_cancelled_run_completes(story: Story) -> None:
    story.change_run("ended", status="completed")


@caught_by("1 retries are kept")
def a_retry_is_lost(story: Story) -> None:
    story.change_call("retry", told=told("whole", "running", 12, attempt=3))


@caught_by("1 what was seen stays")
def an_event_that_was_read_is_another(story: Story) -> None:
    story.change_call("get_events", told=[[1, "run_created", None], [2, "step_completed", "z"]])


@caught_by("1 what was seen stays")
def who_looks_later_sees_less(story: Story) -> None:
    story.call("get_run", "whole", 112, 113, told("whole", "running", 3))


@caught_by("2 steps are recorded once")
def a_step_is_recorded_twice(story: Story) -> None:
    story.change_event("whole", 15, event_type="step_completed", step_id="a", name="a", payload={"result": "a1"})


@caught_by("2 recorded steps never run again")
def a_body_begins_after_its_record(story: Story) -> None:
    story.effect("whole", "a", "a2", 100)


@caught_by("2 recorded steps never run again")
def a_result_comes_from_no_body(story: Story) -> None:
    story.change_event("ended", 3, payload={"result": "nobody"})


@caught_by("3 bodies rest on records")
def a_body_was_given_what_is_not_recorded(story: Story) -> None:
    story.effect("ended", "d", "d1", 40, "a0")


@caught_by("3 bodies rest on records")
def a_body_of_no_run(story: Story) -> None:
    story.effect("other", "d", "d1", 40)


@caught_by("4 histories are whole")
def a_number_is_missing(story: Story) -> None:
    del story.facts.histories["whole"].events[7]


@caught_by("4 histories are whole")
def time_goes_backwards(story: Story) -> None:
    story.change_event("whole", 14, created_at=at(0))


@caught_by("4 histories are whole")
def a_run_is_created_twice(story: Story) -> None:
    story.change_event("ended", 3, event_type="run_created")


@caught_by("5 workflows saw their records")
def a_workflow_saw_another_result(story: Story) -> None:
    story.change_run("whole", output={"saw": {"results": ["a1", "b0"], "signals": {}}})


@caught_by("5 workflows saw their records")
def a_workflow_saw_signals_in_another_order(story: Story) -> None:
    story.change_run("whole", output={"saw": {"results": [], "signals": {"n": [2, 1]}}})


@caught_by("6 signals are in order and once")
def a_signal_is_there_twice(story: Story) -> None:
    story.change_event("whole", 7, payload={"payload": 1, "signalId": "n-1", "mailboxSeq": 2})


@caught_by("6 signals are in order and once")
def signals_change_places(story: Story) -> None:
    events = story.facts.histories["whole"].events
    one, two = events[5].payload, events[6].payload
    story.change_event("whole", 6, payload={**two, "mailboxSeq": 1})
    story.change_event("whole", 7, payload={**one, "mailboxSeq": 2})


@caught_by("7 sleeps are never early")
def a_sleep_ends_early(story: Story) -> None:
    story.change_event("whole", 5, payload={"until": rfc3339(51)})


@caught_by("7 sleeps are never early")
def a_body_behind_a_sleep_begins_early(story: Story) -> None:
    story.effect("whole", "b", "b0", 44, "a1")


@caught_by("7 sleeps are never early")
def a_run_starts_before_its_delay_is_over(story: Story) -> None:
    story.change_event("ended", 1, payload={"delay": 60_000})


@caught_by("8 over is over")
def a_completed_run_changes(story: Story) -> None:
    story.change_run("whole", output="other")


@caught_by("8 over is over")
def a_completed_run_runs_again(story: Story) -> None:
    story.call("get_run", "whole", 180, 181, told("whole", "running", 17))


@caught_by("8 over is over")
def a_failed_run_goes_on_without_a_retry(story: Story) -> None:
    story.change_event("whole", 12, event_type="state_set")


@caught_by("8 over is over")
def a_run_that_is_over_takes_a_signal(story: Story) -> None:
    story.call("send_signal", "whole", 180, 190, name="n", payload=4, signal_id="n-4")


@caught_by("8 over is over")
def a_run_that_is_over_takes_an_event(story: Story) -> None:
    story.call("emit_event", "whole", 180, 190, {"event_id": "whole/17", "seq": 17}, event_type="noted", payload="late")


@caught_by("8 histories end once")
def a_history_ends_twice(story: Story) -> None:
    story.add_event("ended", "run_completed")


@caught_by("8 histories end once")
def a_status_is_not_that_of_the_end(story: Story) -> None:
    story.change_run("ended", status="failed")


@caught_by("9 nothing starts after a cancel")
def a_body_begins_two_seconds_after_a_cancel(story: Story) -> None:
    story.effect("ended", "z", "z1", 2045)


@caught_by("9 what was done is undone")
def a_step_is_not_undone(story: Story) -> None:
    story.drop_event("ended", 5)


@caught_by("9 what was done is undone")
def a_completed_run_undoes_something(story: Story) -> None:
    story.change_event("whole", 15, event_type="compensation_completed", step_id="compensate:a", payload={"result": "u"})


@caught_by("9 what was done is undone")
def the_first_is_undone_first(story: Story) -> None:
    events = story.facts.histories["ended"].events
    story.change_event("ended", 2, event_type="step_completed", step_id="z", payload={"result": "z1", "compensate": True})
    story.change_event("ended", 4, event_type="compensation_completed", step_id="compensate:z", payload={"result": "u0"})
    assert [event.step_id for event in events] == [None, "z", "a", "compensate:z", "compensate:a", None]


@caught_by("10 limits hold")
def a_history_is_longer_than_allowed(story: Story) -> None:
    story.change_run("whole", max_events=15)


@caught_by("10 limits hold")
def the_last_event_that_is_allowed_is_not_final(story: Story) -> None:
    story.change_run("ended", max_events=5, status="running")
    story.change_event("ended", 6, event_type="state_set")


@caught_by("11 a key gives one run")
def a_key_gives_two_runs(story: Story) -> None:
    story.call("trigger", None, 5, 12, told("ended", "pending", 1), workflow="w", input=7, idempotency_key="k")


@caught_by("11 a key gives one run")
def a_key_takes_other_input(story: Story) -> None:
    story.call("trigger", None, 5, 12, told("whole", "pending", 1), workflow="w", input=8, idempotency_key="k")


@caught_by("11 a key gives one run")
def two_triggers_made_one_run(story: Story) -> None:
    story.call("trigger", None, 5, 12, told("whole", "pending", 1, created=True), workflow="w", input=7, idempotency_key="k")


@caught_by("11 a key gives one run")
def two_runs_have_one_key(story: Story) -> None:
    story.change_run("ended", idempotency_key="k")


@caught_by("13 nothing is stuck")
def a_run_is_left(story: Story) -> None:
    story.change_run("ended", status="running")


@caught_by("14 refused means not done")
def a_refused_signal_is_there(story: Story) -> None:
    story.change_event("whole", 7, payload={"payload": 3, "signalId": "n-3", "mailboxSeq": 2})


@caught_by("14 refused means not done")
def a_refused_event_is_there(story: Story) -> None:
    story.change_call("emit_event", outcome="error", code="conflict", told=None)


@caught_by("the store holds together")
def the_store_is_damaged(story: Story) -> None:
    story.facts.wrong_in_store.append("run whole: it is not whole")


def test_a_clean_story_passes_and_leaves_no_check_without_work(story: Story):
    verdicts = check_all(story.facts)
    assert wrong_in(verdicts) == []
    assert not_tested(verdicts) == []


def test_what_was_not_seen_is_told():
    assert set(not_tested(check_all(Facts()))) == set(CHECKS) - {"the store holds together"}


@pytest.mark.parametrize(("check", "plant"), [pytest.param(*each, id=each[1].__name__) for each in PLANTS])
def test_each_planted_violation_is_caught_by_the_check_it_is_for(check: str, plant: Callable[[Story], Any], story: Story):
    plant(story)
    assert check_all(story.facts)[check].wrong != []


def test_every_check_has_a_violation_that_it_must_catch():
    assert {check for check, _ in PLANTS} == set(CHECKS)


def test_a_call_of_which_nobody_knows_the_outcome_proves_nothing(story: Story):
    story.call("trigger", "never", 5, None, workflow="w", input=7)
    story.call("send_signal", "whole", 5, None, name="n", payload=9, signal_id="n-9")
    story.call("emit_event", "whole", 5, None, event_type="noted", payload={"by": "nobody"})
    story.call("cancel", "whole", 5, None)
    assert wrong_in(check_all(story.facts)) == []


def test_a_signal_that_was_sent_before_may_be_sent_again_to_a_run_that_is_over(story: Story):
    story.call("send_signal", "whole", 180, 190, name="n", payload=2, signal_id="n-2")
    assert wrong_in(check_all(story.facts)) == []


def test_what_a_process_begins_just_after_it_was_thawed_is_excused_and_counted(story: Story):
    story.facts.troubles.append(Trouble(what="frozen", pid=11, at_ns=0, ended_ns=2 * SECOND_NS))
    story.effect("whole", "a", "a2", 2_500)
    story.effect("ended", "z", "z1", 2_500)
    verdicts = check_all(story.facts)
    assert wrong_in(verdicts) == []
    assert verdicts["2 recorded steps never run again"].excused == 1
    assert verdicts["9 nothing starts after a cancel"].excused == 1


def test_how_long_it_took_until_a_run_went_on_elsewhere_is_told(story: Story):
    # Its process was lost 5 ms after the body of `a` began, and another began it again 5 ms later.
    story.facts.troubles.append(Trouble(what="killed", pid=10, at_ns=25_000_000))
    story.facts.troubles.append(Trouble(what="cut_off", pid=10, at_ns=26_000_000, ended_ns=27_000_000))
    story.facts.troubles.append(Trouble(what="killed", pid=11, at_ns=26_000_000))
    assert went_on_elsewhere(story.facts) == [5]


def test_a_process_that_is_cut_off_cannot_hear_of_a_cancel(story: Story):
    story.facts.troubles.append(Trouble(what="cut_off", pid=0, at_ns=0, ended_ns=2 * SECOND_NS))
    story.effect("ended", "z", "z1", 2_045)
    verdicts = check_all(story.facts)
    assert wrong_in(verdicts) == []
    assert verdicts["9 nothing starts after a cancel"].excused == 1


def test_nothing_else_that_a_process_begins_is_excused_by_its_having_been_frozen(story: Story):
    story.facts.troubles.append(Trouble(what="frozen", pid=11, at_ns=0, ended_ns=2 * SECOND_NS))
    story.effect("whole", "a", "a2", 3_500)
    assert check_all(story.facts)["2 recorded steps never run again"].wrong != []
