"""What a person sees of the demo: a bar while it goes on, then what it found out."""

from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stepwell.cli.airports.demonstration import Result, Watcher
from stepwell.cli.options import suggested
from stepwell.cli.output import notes, print_table, print_value, say


class Shown(Watcher):
    """A bar at a terminal; into a pipe a line now and then."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("steps"),
            TimeElapsedColumn(), console=notes(), disable=not notes().is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("airports", total=None)
        self._total = 0
        self._tenth = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def total(self, steps: int) -> None:
        self._total = steps
        self._bar.update(self._task, total=steps)

    def done(self, steps: int, runs: int) -> None:
        self._bar.update(self._task, completed=steps, description=f"airports ({runs} countries done)")
        tenth = steps * 10 // self._total
        if self._bar.disable and tenth > self._tenth:
            self._tenth = tenth
            say(f"{tenth * 10}%: {steps:,} steps, {runs} countries done")

    def happened(self, text: str) -> None:
        say(text)


_FAILURES_SHOWN_MAX = 20


def print_result(result: Result, name: str) -> None:
    """Print the continents, the proof, and how to look at the database."""
    rows = [
        (
            one.continent, str(one.countries), f"{one.airports:,}", str(one.faulty), f"{one.mean_km:,.0f}",
            f"{one.farthest_km:,.0f}", one.farthest, str(one.time_zones),
        )
        for one in result.continents
    ]  # fmt: skip
    # Kilometres are those to the largest airport of the same country.
    columns = ("CONTINENT", "COUNTRIES", "AIRPORTS", "FAULTY", "MEAN KM", "MOST KM", "FARTHEST", "UTC OFFSETS")
    print_value("")
    print_table(columns, rows, right=("COUNTRIES", "AIRPORTS", "FAULTY", "MEAN KM", "MOST KM", "UTC OFFSETS"))
    print_value("Kilometres are those to the largest airport of the country.\n")
    proof = result.proof
    for failure in [*result.failed, *proof.failures][:_FAILURES_SHOWN_MAX]:
        print_value(f"NOT TRUE: {failure}")
    if result.succeeded:
        airports = f"each of {proof.airports:,} airports was validated and enriched exactly once"
        print_value(f"Proved from {proof.runs} histories: {airports}.")
    for what, count in (
        ("steps recorded", proof.steps_recorded),
        ("  before the kill", proof.recorded_before_kill),
        ("    of these, run again after it", proof.recorded_and_run_again),
        ("step bodies run", proof.bodies_run),
        ("  a second time, being under way at the kill", proof.run_again),
        ("seconds, the kill included", result.seconds),
        ("steps a second", result.steps_per_second),
    ):
        print_value(f"  {what:<46}{count:>10,}")
    print_value(f"\nThe database is {result.store}. To look at it:")
    for command in ("list", f"show {name}-CH", f"events {name}-CH --limit 20"):
        print_value(f"  {suggested(f'runs {command}', result.store)}")
