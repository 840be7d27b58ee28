"""All checks, each by the promise that it is about."""

from collections.abc import Mapping
from typing import Final

from tests.checker import calls, runs
from tests.checker.records import Facts
from tests.checker.verdict import Check, Verdict, judge

CHECKS: Final[Mapping[str, Check]] = {
    "1 runs are kept": calls.runs_are_kept,
    "1 signals are kept": calls.signals_are_kept,
    "1 events are kept": calls.events_are_kept,
    "1 answers are kept": calls.answers_are_kept,
    "1 cancels are kept": calls.cancels_are_kept,
    "1 retries are kept": calls.retries_are_kept,
    "1 what was seen stays": calls.what_was_seen_stays,
    "2 steps are recorded once": runs.steps_are_recorded_once,
    "2 recorded steps never run again": runs.recorded_steps_never_run_again,
    "3 bodies rest on records": runs.bodies_rest_on_records,
    "4 histories are whole": runs.histories_are_whole,
    "5 workflows saw their records": runs.workflows_saw_their_records,
    "6 signals are in order and once": runs.signals_are_in_order_and_once,
    "7 sleeps are never early": runs.sleeps_are_never_early,
    "8 over is over": calls.over_is_over,
    "8 histories end once": runs.histories_end_once,
    "9 nothing starts after a cancel": runs.nothing_starts_after_a_cancel,
    "9 what was done is undone": runs.what_was_done_is_undone,
    "10 limits hold": runs.limits_hold,
    "11 a key gives one run": calls.a_key_gives_one_run,
    "13 nothing is stuck": runs.nothing_is_stuck,
    "14 refused means not done": calls.refused_means_not_done,
    "the store holds together": runs.the_store_holds_together,
}


def check_all(facts: Facts) -> dict[str, Verdict]:
    """Hold everything that was seen against every promise that can be checked from outside."""
    return {name: judge(check, facts) for name, check in CHECKS.items()}


def wrong_in(verdicts: Mapping[str, Verdict]) -> list[str]:
    """Return what is wrong, a line each."""
    return [f"promise {name}: {text}" for name, verdict in verdicts.items() for text in verdict.wrong]


def not_tested(verdicts: Mapping[str, Verdict]) -> list[str]:
    """Return the checks that had nothing to look at."""
    return [name for name, verdict in verdicts.items() if not verdict.looked_at]
