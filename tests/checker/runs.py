"""Promises about runs: bodies, histories, signals, sleeps, limits; and that nothing is stuck.

An operation's identity is its branch, up to the last ``/``, and its name. Within a branch operations follow one another, so that
the order of its records is the order of its bodies.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from stepwell.model import OVER, Event
from tests.checker.records import Call, Effect, Facts, History, by_run
from tests.checker.verdict import EXCUSED, LOOKED, Findings

THAWED_NS: Final = 1_000_000_000
"""How long after it was thawed a process may begin what it was about to begin when it was frozen: the stated exception of 2."""
CANCEL_NS: Final = 1_000_000_000
"""Promise 9."""
_FINAL: Final = {"run_completed", "run_failed", "run_cancelled"}
_UNDONE: Final = {"compensation_completed", "compensation_failed"}
_OUTCOMES: Final = {"step_completed", "step_failed", "step_interrupted"}
_BY_ITSELF: Final = ("step_", "sleep_", "signal_", "child_", "race_won", "state_set", "patch_marked", "run_completed")
"""What a run records itself. What comes from outside has the time at which it was asked for."""
_BY_CLIENTS: Final = ("workflow.", "collection.")
"""Steps of which the body is stepwell's own: calls of the client in a workflow."""


def steps_are_recorded_once(facts: Facts) -> Findings:
    """Promise 2: a step has one outcome, unless a retry of its run has voided it."""
    for run_id, history in facts.histories.items():
        had: set[str | None] = set()
        for event in history.events:
            if event.event_type == "run_resumed":
                had -= set(event.payload.get("voided") or ())
            elif event.event_type in _OUTCOMES | _UNDONE:
                yield LOOKED
                if event.step_id in had:
                    yield f"{event.step_id} of {run_id} has two outcomes, the second is event {event.seq}"
                had.add(event.step_id)


def recorded_steps_never_run_again(facts: Facts) -> Findings:
    """Promise 2: the body whose result is recorded is the last of its step that began, unless a retry has voided it.

    Excused is what a process began just after it was thawed.
    """
    for run_id, effects in by_run(facts.effects).items():
        if run_id not in facts.histories:
            continue
        began = Counter(effect.step_id for effect in effects)
        for step_id, nonce in _results(facts.histories[run_id]):
            yield LOOKED
            of_step = [effect for effect in effects if effect.step_id == step_id]
            places = [place for place, effect in enumerate(of_step) if effect.nonce == nonce]
            if not places:
                yield f"the result of {step_id} of {run_id} is {nonce!r}, which none of {began[step_id]} bodies returned"
                continue
            for effect in of_step[places[0] + 1 :]:
                if _is_just_thawed(facts, effect):
                    yield EXCUSED
                elif not _is_voided(facts.histories[run_id], step_id, nonce):
                    yield f"began again after the body whose result is recorded: {effect}"


def bodies_rest_on_records(facts: Facts) -> Findings:
    """Promise 3: whatever a body was given is the recorded result of a step."""
    for run_id, effects in by_run(facts.effects).items():
        history = facts.histories.get(run_id)
        if history is None:
            yield f"bodies of run {run_id} began, and there is no such run"
            continue
        recorded = {str(event.payload["result"]) for event in history.events if event.event_type == "step_completed"}
        for effect in effects:
            for nonce in effect.rests_on:
                yield LOOKED
                if nonce not in recorded:
                    yield f"rests on {nonce!r}, which is not recorded: {effect}"


def histories_are_whole(facts: Facts) -> Findings:
    """Promise 4: one history a run: numbered from 1 without a gap, in order of time, begun once, and as long as the run says."""
    for run_id, history in facts.histories.items():
        yield LOOKED
        events = history.events
        if [event.seq for event in events] != list(range(1, len(events) + 1)):
            yield f"run {run_id} has a gap in its history: {[event.seq for event in events]}"
        if history.run.event_count != len(events):
            yield f"run {run_id} says {history.run.event_count} events and has {len(events)}"
        if [event.event_type for event in events].count("run_created") != 1 or events[0].event_type != "run_created":
            yield f"run {run_id} does not begin with the one run_created"
        for before, after in itertools.pairwise(event for event in events if event.event_type.startswith(_BY_ITSELF)):
            if after.created_at < before.created_at:
                yield f"time goes backwards in run {run_id} at event {after.seq}"


def workflows_saw_their_records(facts: Facts) -> Findings:
    """Promise 5: what a workflow says in the end that it saw, under ``saw`` in its output, is what its history has.

    ``saw`` is ``{"results": [...], "signals": {name: [payload, ...]}}``. And no run waits for other code.
    """
    for run_id, history in facts.histories.items():
        run = history.run
        if run.waiting_for is not None and run.waiting_for.kind == "code":
            yield f"run {run_id} does not replay: {run.error}"
        saw: Any = run.output.get("saw") if isinstance(run.output, dict) else None
        if saw is None:
            continue
        yield LOOKED
        strange = set(saw["results"]) - {nonce for _, nonce in _results(history)}
        if strange:
            yield f"run {run_id} saw results that are not recorded: {sorted(strange)}"
        for name, payloads in saw["signals"].items():
            received = [event.payload["payload"] for event in _received(history) if event.name == name]
            if received[: len(payloads)] != payloads:
                yield f"run {run_id} saw signals {name!r} as {payloads}, its history has {received}"


def signals_are_in_order_and_once(facts: Facts) -> Findings:
    """Promise 6: each signal once, in the mailbox's order; and one that was acknowledged before another was sent comes first."""
    sent: dict[tuple[str | None, str], list[Call]] = {}
    for call in facts.calls:
        if call.op == "send_signal" and call.is_ok and call.sent.get("signal_id"):
            sent.setdefault((call.run_id, call.sent["name"]), []).append(call)
    for run_id, history in facts.histories.items():
        received = _received(history)
        for signal_id, count in Counter(event.payload["signalId"] for event in received).items():
            yield LOOKED
            if count > 1:
                yield f"signal {signal_id!r} is {count} times in run {run_id}"
        numbers = [event.payload["mailboxSeq"] for event in received]
        if numbers != sorted(numbers):
            yield f"signals of run {run_id} are not in the order of its mailbox: {numbers}"
        for name in {event.name for event in received}:
            places = {event.payload["signalId"]: event.seq for event in received if event.name == name}
            yield from _in_order(run_id, sent.get((run_id, str(name)), []), places)


def _in_order(run_id: str, calls: list[Call], places: dict[str, int]) -> Iterator[str]:
    first: dict[str, Call] = {}
    began: dict[str, int] = {}
    for call in sorted(calls, key=lambda call: call.ended_ns):
        first.setdefault(call.sent["signal_id"], call)
        began[call.sent["signal_id"]] = min(call.began_ns, began.get(call.sent["signal_id"], call.began_ns))
    for earlier in first.values():
        for signal_id, began_ns in began.items():
            if earlier.ended_ns < began_ns and signal_id in places:
                place = places.get(earlier.sent["signal_id"])
                if place is None or place > places[signal_id]:
                    yield f"run {run_id} has signal {signal_id!r} before one acknowledged earlier, or without it: {earlier}"


def sleeps_are_never_early(facts: Facts) -> Findings:
    """Promise 7: no sleep ends, no body behind it begins, and no run starts before its time."""
    effects = by_run(facts.effects)
    for run_id, history in facts.histories.items():
        slept: dict[str, float] = {}
        recorded: set[str] = set()
        due = 0.0
        for event in history.events:
            at_ms, step_id = _ms(event.created_at), event.step_id or ""
            if event.event_type == "run_created":
                due = at_ms + event.payload.get("delay", 0)
            elif event.event_type == "run_started" and at_ms < due:
                yield f"run {run_id} started {due - at_ms:.0f} ms early"
            elif event.event_type == "sleep_completed":
                yield LOOKED
                until = _ms(datetime.fromisoformat(event.payload["until"]))
                slept[_branch(step_id)] = max(until, slept.get(_branch(step_id), 0))
                if at_ms < until:
                    yield f"{step_id} of {run_id} ended {until - at_ms:.0f} ms early"
            elif event.event_type.startswith("step_") and step_id not in recorded:
                recorded.add(step_id)
                first = min((e.wall_ms for e in effects.get(run_id, []) if e.step_id == step_id), default=None)
                until = slept.get(_branch(step_id), 0)
                if first is not None and first < until:
                    yield f"{step_id} of {run_id} began {until - first:.0f} ms before the sleep that it follows was over"


def histories_end_once(facts: Facts) -> Findings:
    """Promise 8: one final event, the last; more only after a retry; and the run's status is what it says."""
    for run_id, history in facts.histories.items():
        is_over = False
        for event in history.events:
            if is_over and not (event.event_type == "run_resumed" and "attempt" in event.payload):
                yield f"run {run_id} was over, and event {event.seq} is {event.event_type}"
            is_over = event.event_type in _FINAL
        if is_over:
            yield LOOKED
        last = history.events[-1].event_type.removeprefix("run_") if history.events else ""
        if (is_over, last if is_over else "") != (history.run.status in OVER, history.run.status if is_over else ""):
            yield f"run {run_id} is {history.run.status}, and its last event is run_{last}"


def nothing_starts_after_a_cancel(facts: Facts) -> Findings:
    """Promise 9: no body begins more than a second after an acknowledged cancel, but of a compensation.

    Excused is what a process began that was cut off from the store, or just after it was thawed: it is no live worker.
    """
    effects = by_run(facts.effects)
    for call in facts.calls:
        history = facts.histories.get(str(call.target))
        if call.op != "cancel" or not call.is_ok or history is None or history.run.status != "cancelled":
            continue
        yield LOOKED
        for effect in effects.get(str(call.target), []):
            if effect.at_ns <= call.ended_ns + CANCEL_NS or effect.undoes:
                continue
            if _is_just_thawed(facts, effect) or _is_cut_off(facts, effect):
                yield EXCUSED
            else:
                yield f"began {(effect.at_ns - call.ended_ns) // 1_000_000} ms after it was cancelled: {effect}"


def what_was_done_is_undone(facts: Facts) -> Findings:
    """Steps, 9: of a run that failed or was cancelled every completed step with a compensation is undone, once, the last first;
    of one that completed, none.
    """
    for run_id, history in facts.histories.items():
        done = [event for event in history.events if event.event_type == "step_completed" and event.payload.get("compensate")]
        undone = [event.step_id for event in history.events if event.event_type in _UNDONE]
        expected = [] if history.run.status == "completed" else [_undoing(event.step_id or "") for event in reversed(done)]
        if history.run.status in OVER and (done or undone):
            yield LOOKED
            if undone != expected:
                yield f"run {run_id} is {history.run.status} and has undone {undone}, not {expected}"


def _undoing(step_id: str) -> str:
    branch, slash, name = step_id.rpartition("/")
    return f"{branch}{slash}compensate:{name}"


def limits_hold(facts: Facts) -> Findings:
    """Promise 10: event number ``max_events`` is final, and none comes after it but what compensations record."""
    for run_id, history in facts.histories.items():
        events = [event for event in history.events if not event.event_type.startswith("compensation_")]
        if len(events) < history.run.max_events:
            continue
        yield LOOKED
        if len(events) > history.run.max_events or events[-1].event_type not in _FINAL:
            yield f"run {run_id} may have {history.run.max_events} events, and has {len(events)}"


def nothing_is_stuck(facts: Facts) -> Findings:
    """Promise 13: at the end, when everything that runs wait for was sent and workers had time, each is over, or paused with a
    reason.
    """
    for run_id, history in facts.histories.items():
        yield LOOKED
        run = history.run
        is_paused = run.status == "paused" and any(event.event_type == "run_paused" for event in history.events)
        if run.status not in OVER and not is_paused:
            yield f"run {run_id} is {run.status}, waiting for {run.waiting_for}"


def the_store_holds_together(facts: Facts) -> Findings:
    """What ``stepwell db check`` says."""
    yield LOOKED
    yield from facts.wrong_in_store


def _results(history: History) -> list[tuple[str, str]]:
    """Return the recorded results of the workflow's own steps: those that bodies returned."""
    return [
        (event.step_id or "", str(event.payload["result"]))
        for event in history.events
        if event.event_type in {"step_completed", "compensation_completed"}
        and not (event.name or "").startswith(_BY_CLIENTS)
        and "reason" not in event.payload
    ]


def _is_voided(history: History, step_id: str, nonce: str) -> bool:
    """Tell whether a retry has voided this result."""
    has_it = False
    for event in history.events:
        if event.event_type == "step_completed" and event.step_id == step_id:
            has_it = str(event.payload["result"]) == nonce
        elif event.event_type == "run_resumed" and has_it and step_id in (event.payload.get("voided") or ()):
            return True
    return False


def _is_just_thawed(facts: Facts, effect: Effect) -> bool:
    return any(ice.ended_ns <= effect.at_ns <= ice.ended_ns + THAWED_NS for ice in facts.frozen(effect.pid))


def _is_cut_off(facts: Facts, effect: Effect) -> bool:
    return any(cut.at_ns <= effect.at_ns <= cut.ended_ns + CANCEL_NS for cut in facts.cut_off(effect.pid))


def _received(history: History) -> list[Event]:
    return [event for event in history.events if event.event_type == "signal_received"]


def _branch(step_id: str) -> str:
    return step_id.rpartition("/")[0]


def _ms(at: datetime) -> float:
    return at.timestamp() * 1000
