"""Promises about what clients were told: nothing acknowledged is lost, nothing refused has happened, over is over.

A call whose outcome nobody knows may have happened, once, at any time after it began: it excuses what it explains and proves
nothing.
"""

from collections.abc import Iterator
from typing import Any, Final

from stepwell.model import OVER, Event
from tests.checker.records import Call, Facts, History
from tests.checker.verdict import LOOKED, Findings

STARTS: Final = {"trigger", "signal_with_start"}
SIGNALS: Final = {"send_signal", "signal_with_start"}


def runs_are_kept(facts: Facts) -> Findings:
    """Promise 1: a run whose trigger was acknowledged is there, of this workflow and with this input."""
    for call in facts.calls:
        if call.op not in STARTS or not call.is_ok:
            continue
        yield LOOKED
        history = facts.histories.get(str(call.target))
        if history is None:
            yield f"lost: {call}"
        elif (history.run.workflow_name, history.run.input) != (call.sent["workflow"], call.sent.get("input")):
            yield f"run {history.run.run_id} is of {history.run.workflow_name!r} with {history.run.input!r}, against {call}"


def signals_are_kept(facts: Facts) -> Findings:
    """Promise 1: an acknowledged signal is in the history. Only a run that is over may have ended without reading it."""
    for call, history in _about_known_runs(facts, SIGNALS):
        yield LOOKED
        if not any(_is_signal(event, call) for event in history.events) and history.run.status not in OVER:
            yield f"lost: {call}"


def events_are_kept(facts: Facts) -> Findings:
    """Promise 1: an acknowledged event is in the history, where the answer said."""
    for call, history in _about_known_runs(facts, {"emit_event"}):
        yield LOOKED
        at = [event for event in history.events if event.event_id == call.told["event_id"]]
        expected = [(call.told["seq"], call.sent["event_type"], call.sent.get("payload"))]
        if [(event.seq, event.event_type, event.payload) for event in at] != expected:
            yield f"lost, or not as acknowledged: {call}"


def answers_are_kept(facts: Facts) -> Findings:
    """Promise 1: an acknowledged answer to a hook is in the history, and is the only one acknowledged."""
    taken: dict[str, Any] = {}
    for call, history in _about_known_runs(facts, {"execute_hook"}):
        yield LOOKED
        token, answer = call.sent["token"], call.sent.get("payload")
        if taken.setdefault(token, answer) != answer:
            yield f"a hook took two answers, {taken[token]!r} and that of {call}"
        answers = [event.payload["payload"] for event in history.events if event.event_type == "hook_executed"]
        if answer not in answers and history.run.status not in OVER:
            yield f"lost: {call}"


def cancels_are_kept(facts: Facts) -> Findings:
    """Promise 1: a run whose cancel was acknowledged is over, and as the answer said if it said so."""
    for call, history in _about_known_runs(facts, {"cancel"}):
        yield LOOKED
        status = history.run.status
        if status not in OVER or (call.told["status"] == "cancelled" and status != "cancelled"):
            yield f"run {history.run.run_id} is {status}, after {call}"


def retries_are_kept(facts: Facts) -> Findings:
    """Promise 1: an acknowledged retry is in the history, once."""
    for call, history in _about_known_runs(facts, {"retry"}):
        yield LOOKED
        resumed = [event for event in history.events if event.event_type == "run_resumed"]
        if sum(event.payload.get("attempt") == call.told["attempt"] for event in resumed) != 1:
            yield f"lost, or there twice: {call}"


def what_was_seen_stays(facts: Facts) -> Findings:
    """Promises 1 and 4: a history only grows: what was read of it is its beginning, and who looks later sees no less."""
    for call, history in _about_known_runs(facts, {"get_events"}):
        yield LOOKED
        final = [[event.seq, event.event_type, event.step_id] for event in history.events]
        if final[: len(call.told)] != call.told:
            yield f"what was read of run {history.run.run_id} is not the beginning of its history: {call}"
    for run_id, seen_ones in _observations(facts).items():
        for earlier, later in _pairs_in_order(seen_ones):
            yield LOOKED
            if later.told["event_count"] < earlier.told["event_count"]:
                yield f"run {run_id} had {earlier.told['event_count']} events, then {later.told['event_count']}: {later}"


def refused_means_not_done(facts: Facts) -> Findings:
    """Promise 14: what was refused, or known not to have been done, has left no trace."""
    done = {(call.run_id, repr(call.sent)) for call in facts.calls if call.outcome != "error"}
    for call in facts.calls:
        history = facts.histories.get(str(call.run_id))
        if call.outcome != "error" or history is None or (call.run_id, repr(call.sent)) in done:
            continue
        if call.op in {"send_signal", "emit_event"}:
            yield LOOKED
            if any(_is_signal(event, call) or _is_users(event, call) for event in history.events):
                yield f"refused, and yet there: {call}"


def over_is_over(facts: Facts) -> Findings:
    """Promise 8: a run that was seen to be over stays as it was, unless it failed and was retried; and takes nothing more."""
    observations = _observations(facts)
    for run_id, seen in observations.items():
        history = facts.histories.get(run_id)
        for call in seen:
            if history is not None and call.told["status"] in OVER:
                yield LOOKED
                yield from _changed_since(call, history)
        for earlier, later in _pairs_in_order(seen):
            if earlier.told["status"] in {"completed", "cancelled"} and later.told["status"] != earlier.told["status"]:
                yield f"run {run_id} was {earlier.told['status']}, then {later.told['status']}: {later}"
    # The answer to signal_with_start is itself an observation. What was sent before is not taken again, but answered alike.
    first: dict[tuple[str | None, str], int] = {}
    for call in facts.calls:
        key = (call.run_id, repr(call.sent))
        first[key] = min(call.began_ns, first.get(key, call.began_ns))
    for call, history in _about_known_runs(facts, {"send_signal", "emit_event", "execute_hook"}):
        over = [seen for seen in observations.get(history.run.run_id, []) if seen.told["status"] in OVER - {"failed"}]
        if any(seen.ended_ns < first[call.run_id, repr(call.sent)] for seen in over):
            yield f"run {history.run.run_id} was over and took more: {call}"


def _changed_since(call: Call, history: History) -> Iterator[str]:
    told, run = call.told, history.run
    count = told["event_count"]
    if told["status"] == "failed" and len(history.events) > count:
        if history.events[count].event_type != "run_resumed" or "attempt" not in history.events[count].payload:
            yield f"run {run.run_id} had failed and went on without a retry: {call}"
    elif (told["status"], count, told["output"]) != (run.status, run.event_count, run.output):
        yield f"run {run.run_id} is {run.status} with {run.event_count} events, after {call} told {told}"


def a_key_gives_one_run(facts: Facts) -> Findings:
    """Promise 11: triggers with one key and equal input name one run, one of them made it, and other input is refused."""
    keyed: dict[tuple[str, str], list[Call]] = {}
    for call in facts.calls:
        if call.op == "trigger" and call.is_ok and call.sent.get("idempotency_key"):
            keyed.setdefault((call.sent["workflow"], call.sent["idempotency_key"]), []).append(call)
    for (workflow, key), calls in keyed.items():
        yield LOOKED
        if len({call.target for call in calls}) > 1:
            yield f"key {key!r} of {workflow!r} gave several runs: {sorted({str(call.target) for call in calls})}"
        if sum(call.told["created"] for call in calls) > 1:
            yield f"key {key!r} of {workflow!r} was said to make its run more than once"
        if len({repr(call.sent.get("input")) for call in calls}) > 1:
            yield f"key {key!r} of {workflow!r} took different inputs: {[str(call) for call in calls]}"
        having = [
            h.run.run_id for h in facts.histories.values() if (h.run.workflow_name, h.run.idempotency_key) == (workflow, key)
        ]
        if len(having) != 1:
            yield f"key {key!r} of {workflow!r} belongs to {len(having)} runs: {having}"


def _about_known_runs(facts: Facts, ops: set[str]) -> Iterator[tuple[Call, History]]:
    for call in facts.calls:
        history = facts.histories.get(str(call.target))
        if call.op in ops and call.is_ok and history is not None:
            yield call, history


def _is_signal(event: Event, call: Call) -> bool:
    if event.event_type != "signal_received" or event.name != (call.sent.get("name") or call.sent.get("signal_name")):
        return False
    signal_id = call.sent.get("signal_id")
    if signal_id is not None and event.payload["signalId"] != signal_id:
        return False
    return event.payload["payload"] == call.sent.get("payload")


def _is_users(event: Event, call: Call) -> bool:
    return event.event_type == call.sent.get("event_type") and event.payload == call.sent.get("payload")


def _observations(facts: Facts) -> dict[str, list[Call]]:
    """Return what was told of each run's state, in the order in which the calls ended."""
    found: dict[str, list[Call]] = {}
    for call in facts.calls:
        if call.is_ok and isinstance(call.told, dict) and "status" in call.told:
            found.setdefault(call.told["run_id"], []).append(call)
    return {run_id: sorted(calls, key=lambda call: call.ended_ns) for run_id, calls in found.items()}


def _pairs_in_order(calls: list[Call]) -> Iterator[tuple[Call, Call]]:
    """Yield, for each call, the latest one that had ended before it began: what follows from those before, follows from it."""
    for later in calls:
        earlier = [call for call in calls if call.ended_ns < later.began_ns]
        if earlier:
            yield max(earlier, key=lambda call: call.told["event_count"]), later
