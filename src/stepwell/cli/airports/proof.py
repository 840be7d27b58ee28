"""What the histories and the journal prove about a demo. Pure: it is handed what was read."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from stepwell import Event
from stepwell.cli.airports.batch import ONCE, PER_AIRPORT
from stepwell.cli.airports.geography import Airport


class StepOf(NamedTuple):
    """One step of one run."""

    run_id: str
    step_id: str


class Proof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was counted, and ``failures``: a sentence for each claim that does not hold, none if all do."""

    runs: int
    airports: int
    steps_recorded: int
    recorded_before_kill: int
    bodies_run: int
    run_again: int
    """Steps whose body ran more than once: they were under way when the worker was killed."""
    recorded_and_run_again: int
    """Steps that were recorded before the kill, and whose body ran after it. There must be none."""
    failures: list[str]

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return not self.failures


def read_journal(text: str) -> list[StepOf]:
    """Return the bodies that ran, in order. A line that is not whole does not count."""
    lines = (line.partition("\t") for line in text.split("\n")[:-1])
    return [StepOf(run_id, step_id) for run_id, tab, step_id in lines if tab]


def prove(
    countries: Mapping[str, list[Airport]],
    run_of: Mapping[str, str],
    histories: Mapping[str, Iterable[Event]],
    seq_at_kill: Mapping[str, int],
    before: list[StepOf],
    after: list[StepOf],
) -> Proof:
    """Check that each airport went through each of its steps exactly once, by the record.

    Args:
        countries: The airports of each country, from the data.
        run_of: The run of each country.
        histories: The events of each run, in order.
        seq_at_kill: How many events each run had once the worker was dead.
        before: The bodies that ran until then.
        after: The bodies that ran since.
    """
    failures: list[str] = []
    recorded: Counter[StepOf] = Counter()
    kept: set[StepOf] = set()
    for country, airports in countries.items():
        run_id = run_of[country]
        done: Counter[tuple[str, str]] = Counter()
        for event in histories[run_id]:
            if event.event_type != "step_completed":
                continue
            step = StepOf(run_id, event.step_id or "")
            recorded[step] += 1
            if event.seq <= seq_at_kill.get(run_id, 0):
                kept.add(step)
            name = event.name or ""
            done[name, event.payload["result"]["icao"] if name in PER_AIRPORT else ""] += 1
        expected = {(name, airport["icao"]) for name in PER_AIRPORT for airport in airports} | {(name, "") for name in ONCE}
        failures += _differences(country, expected, done)
    failures += [f"{step} is recorded {count} times" for step, count in recorded.items() if count != 1]
    repeated = sorted(kept.intersection(after))
    failures += [f"{step} was recorded before the kill, and ran again after it" for step in repeated]
    bodies = Counter(before + after)
    failures += [f"{step} is recorded, but its body never ran" for step in recorded if step not in bodies]
    return Proof(
        runs=len(run_of),
        airports=sum(map(len, countries.values())),
        steps_recorded=recorded.total(),
        recorded_before_kill=len(kept),
        bodies_run=bodies.total(),
        run_again=sum(count > 1 for count in bodies.values()),
        recorded_and_run_again=len(repeated),
        failures=failures,
    )


def _differences(country: str, expected: set[tuple[str, str]], done: Counter[tuple[str, str]]) -> list[str]:
    found = [f"{country}: {name} {icao} is recorded {count} times" for (name, icao), count in done.items() if count != 1]
    found += [f"{country}: {name} {icao} is not recorded" for name, icao in sorted(expected - set(done))]
    return found + [f"{country}: {name} {icao} is recorded, and should not be" for name, icao in sorted(set(done) - expected)]
