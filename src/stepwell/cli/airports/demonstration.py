"""The demo itself: trigger a run a country, kill the worker midway, start another, and read what became of it all."""

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from stepwell import AsyncClient, Run, StepwellError
from stepwell.cli.airports.batch import ONCE, PER_AIRPORT, Country, Summary, process_country
from stepwell.cli.airports.geography import Airport, airports
from stepwell.cli.airports.proof import Proof, prove, read_journal
from stepwell.cli.airports.summary import Continent, by_continent
from stepwell.clock import Clock

_LOOK_S: Final = 0.1
_KILL_AT: Final = 0.5
_PAGE: Final = 500
_EVENTS_BESIDES_STEPS: Final = 3
"""run_created, run_started, run_completed."""


class WorkerFailedError(StepwellError):
    """A worker of the demo ended by itself. The text is what it said."""

    code = "worker_failed"


class Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a demo found out."""

    store: str
    runs: int
    failed: list[str]
    """Runs that did not complete, with their error."""
    airports: int
    steps: int
    seconds: float
    """From the first trigger to the end of the last run, the kill included."""
    steps_per_second: int
    killed_pid: int
    killed_at_step: int
    proof: Proof
    continents: list[Continent]

    @property
    def succeeded(self) -> bool:
        """Whether every run completed and every claim holds."""
        return not self.failed and self.proof.holds


class Watcher(Protocol):
    """What is told of a demo while it goes on."""

    def total(self, steps: int) -> None:
        """So many steps are to be done."""
        ...

    def done(self, steps: int, runs: int) -> None:
        """So many steps and runs are done."""
        ...

    def happened(self, text: str) -> None:
        """Something worth a line."""
        ...


async def demonstrate(client: AsyncClient, store: str, name: str, folder: Path, watcher: Watcher) -> Result:
    """Run the demo.

    Args:
        client: Open on ``store``.
        store: The URL, for the workers.
        name: Of this demo: the tag of its runs, and the beginning of their ids and of its files' names.
        folder: Where its journal goes.
        watcher: Is told how it goes.

    Raises:
        WorkerFailedError: A worker ended by itself.
    """
    countries, clock, journal = airports(), Clock(), folder / f"{name}.journal"
    run_of = {country: f"{name}-{country}" for country in countries}
    steps = len(PER_AIRPORT) * sum(map(len, countries.values())) + len(ONCE) * len(countries)
    watcher.total(steps)
    began_ms = clock.boot_ms()
    await _trigger_all(client, countries, run_of, name, journal)
    watcher.happened(f"{len(countries)} runs are triggered, one a country; {steps:,} steps are to be done")
    progress = _Progress(client, name, watcher)

    async with _worker(store, folder / f"{name}-1.log") as first:
        watcher.happened(f"worker {first.pid} is started")
        await _unless_it_ends(first, progress.until(lambda runs: _steps_of(runs) >= steps * _KILL_AT))
        first.kill()
        await first.wait()
    at_kill = await _runs_of(client, name)
    bodies_before = read_journal(journal.read_text())
    watcher.happened(f"worker {first.pid} is killed with SIGKILL, when {_steps_of(at_kill):,} steps were recorded")

    async with _worker(store, folder / f"{name}-2.log") as second:
        watcher.happened(f"worker {second.pid} is started in its place")
        await _unless_it_ends(second, progress.until(lambda runs: all(run.is_over for run in runs)))
        took_ms = max(1, clock.boot_ms() - began_ms)
        second.terminate()
        await second.wait()

    watcher.happened("all runs are over; reading their histories")
    done = await _runs_of(client, name, with_output=True)
    histories = {run_id: await client.workflow.get_events(run_id) for run_id in run_of.values()}
    bodies_after = read_journal(journal.read_text())[len(bodies_before) :]
    seq_at_kill = {run.run_id: run.event_count for run in at_kill}
    proof = prove(countries, run_of, histories, seq_at_kill, bodies_before, bodies_after)
    summaries: list[Summary] = [run.output for run in done if run.status == "completed"]
    return Result(
        store=store,
        runs=len(done),
        failed=[f"{run.run_id} is {run.status}: {run.error}" for run in done if run.status != "completed"],
        airports=proof.airports,
        steps=steps,
        seconds=round(took_ms / 1000, 2),
        steps_per_second=steps * 1000 // took_ms,
        killed_pid=first.pid,
        killed_at_step=_steps_of(at_kill),
        proof=proof,
        continents=by_continent(summaries),
    )


async def _trigger_all(
    client: AsyncClient, countries: dict[str, list[Airport]], run_of: dict[str, str], name: str, journal: Path
) -> None:
    # The largest countries first, so that none is left over at the end on its own.
    by_size = sorted(countries, key=lambda country: -len(countries[country]))
    await asyncio.gather(
        *(
            client.workflow.trigger(
                process_country, Country(country=country, journal=str(journal)), run_id=run_of[country], tags=[name]
            )
            for country in by_size
        )
    )


@asynccontextmanager
async def _worker(store: str, log: Path) -> AsyncGenerator[Process]:
    """Run a worker in a process of its own, which Ctrl-C does not reach, and which does not outlive the block."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stepwell", "worker", "stepwell.cli.airports", "--store", store,
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _unless_it_ends(process: Process, waiting: Coroutine[Any, Any, None]) -> None:
    """Wait, but not for a worker that is dead."""
    task, ended = asyncio.ensure_future(waiting), asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise WorkerFailedError(f"worker {process.pid} ended by itself, with exit code {ended.result()}")
        task.result()
    finally:
        task.cancel()
        ended.cancel()
        await asyncio.gather(task, ended, return_exceptions=True)


class _Progress:
    def __init__(self, client: AsyncClient, name: str, watcher: Watcher) -> None:
        self._client = client
        self._name = name
        self._watcher = watcher

    async def until(self, enough: Callable[[list[Run[Any]]], bool]) -> None:
        while True:
            runs = await _runs_of(self._client, self._name)
            self._watcher.done(_steps_of(runs), sum(run.is_over for run in runs))
            if enough(runs):
                return
            await asyncio.sleep(_LOOK_S)


async def _runs_of(client: AsyncClient, name: str, *, with_output: bool = False) -> list[Run[Any]]:
    include = ("output",) if with_output else ()
    page = await client.workflow.get_runs(tags=[name], include=include, limit=_PAGE)
    assert page.next_cursor is None
    return page.items


def _steps_of(runs: list[Run[Any]]) -> int:
    """Return how many steps are recorded, by the number of events; exact once a run is over."""
    return sum(max(0, run.event_count - _EVENTS_BESIDES_STEPS + (not run.is_over)) for run in runs)
