"""Workers and customers on one store that are killed and frozen at random, and the history checker over all that they saw.

Which store it is, and what else can be done to it, a ``Place`` says.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from asyncio import FIRST_COMPLETED
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

import stepwell
from stepwell import AsyncClient, ConflictError, Settings
from stepwell.model import OVER
from tests.checker.check import check_all, not_tested, wrong_in
from tests.checker.gaps import went_on_elsewhere
from tests.checker.records import Call, Facts, History, Trouble, boot_ns, read_calls, read_effects
from tests.crash.workers import Worker

LEASE_MS: Final = 1_000
OUTAGE_S: Final = 30
"""How long at most nobody may be served when a primary is lost."""
PATIENCE_S: Final = 120
"""How long runs may take once nobody is disturbed any more. What is not over then is stuck."""
_ROOT: Final = Path(stepwell.__file__).parents[2]
SETTINGS: Final[dict[str, object]] = {"lease_ms": LEASE_MS, "poll_ms": LEASE_MS // 4, "hook_key": "the same for all"}


class Scale(NamedTuple):
    """How much."""

    workers: int
    members: int
    errands: int
    """In one list of a customer."""
    seconds: float
    """How long at least to disturb."""
    each: int
    """How often at least to do each thing."""


class Place(Protocol):
    """Where the runs live, and what can be done to it."""

    rare: tuple[str, ...]
    """Counters of workers that must not stay at zero."""

    async def url(self, who: str) -> str:
        """Return the URL for one process, known by a name."""
        ...

    def enter(self, who: str) -> tuple[str, ...]:
        """Return what a worker's command begins with, to be where it belongs."""
        ...

    async def freeze(self, worker: Worker) -> None:
        """Stop a process."""
        ...

    def tormentors(self, storm: "CheckedStorm") -> list[Coroutine[Any, Any, None]]:
        """Return what torments the store. Each ends when the storm is over, and leaves the store whole."""
        ...

    def ills(self) -> tuple[str, ...]:
        """Return what is done to it, by the names under which it is counted."""
        ...


class CheckedStorm:
    """One store, the processes that use it, and what is done to them."""

    def __init__(self, folder: Path, place: Place, dice: random.Random, scale: Scale) -> None:
        self.done: Counter[str] = Counter()
        """What was done to processes, and how often."""
        self.troubles: list[Trouble] = []
        self.outages_s: list[float] = []
        """How long nobody was served, each time."""
        self.pids: dict[str, int] = {}
        """Who is who now."""
        self.dice = dice
        self.is_over = False
        self.is_in_time = True
        """Whether everything was over in time once nobody was disturbed any more."""
        self._folder = folder
        self._place = place
        self._scale = scale
        self._seed = str(dice.randrange(10**9))
        self._lists: Counter[int] = Counter()
        """How many lists of errands each customer has done."""
        self._begun = 0
        """How many lists somebody has begun: then all do them, for some errands need everybody."""
        self._counters: Counter[str] = Counter()
        self._may_stop = asyncio.Event()

    async def blow(self) -> Facts:
        """Torment everything until each thing was done often enough, let all runs end, and return what was seen."""
        (self._folder / "calls").mkdir()
        workers = [asyncio.create_task(self._worker(f"worker-{number}")) for number in range(self._scale.workers)]
        members = [asyncio.create_task(self._member(number)) for number in range(self._scale.members)]
        others = [asyncio.create_task(torment) for torment in self._place.tormentors(self)]
        began = time.monotonic()
        while time.monotonic() - began < self._scale.seconds or not self._is_enough():
            await _some_ended(*workers, *members, *others)
        self.is_over = True
        await asyncio.gather(*others)
        # A primary may have been lost just now.
        patient = Settings(patience_ms=OUTAGE_S * 1000)
        async with AsyncClient(await self._place.url("checker"), settings=patient) as client:
            self.is_in_time = await self._are_over(members, client)
            self.is_in_time = await self._until_runs_are_over(client) and self.is_in_time
            self._may_stop.set()
            await asyncio.gather(*workers)
            return await self._facts(client)

    async def _are_over(self, members: list[asyncio.Task[None]], client: AsyncClient) -> bool:
        waiting: set[asyncio.Task[None]] = set(members)
        until = time.monotonic() + PATIENCE_S
        while waiting and time.monotonic() < until:
            # Customers wait for runs, and these for others, of which some have lost too many workers.
            await _resume_what_is_paused(client)
            _, waiting = await asyncio.wait(waiting, timeout=1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*members, return_exceptions=True)
        return not waiting

    async def _until_runs_are_over(self, client: AsyncClient) -> bool:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            await _resume_what_is_paused(client)
            if not await _has_open_runs(client):
                return True
            await asyncio.sleep(0.1)
        return False

    async def _facts(self, client: AsyncClient) -> Facts:
        histories = {
            run.run_id: History(run=run, events=await client.workflow.get_events(run.run_id))
            async for run in client.workflow.iter_runs(include=("input", "output"))
        }
        for file in self._folder.glob("counters-*.json"):
            self._counters.update(msgspec.json.decode(file.read_bytes(), type=dict[str, int]))
        (self._folder / "histories.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(histories.values()))
        return Facts(
            calls=self._calls(), effects=read_effects(self._folder / "effects.jsonl"),
            histories=histories, troubles=self.troubles, wrong_in_store=await client.check_store(), counters=self._counters,
        )  # fmt: skip

    def not_tested(self, facts: Facts) -> list[str]:
        """Return the rare branches that nobody took."""
        return [name for name in self._place.rare if not facts.counters[name]]

    def keep(self, evidence: Path) -> Path:
        """Copy all that was written down to where it stays."""
        shutil.copytree(self._folder, evidence, dirs_exist_ok=True)
        (evidence / "troubles.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(self.troubles))
        return evidence

    def end_workers(self) -> None:
        """Leave no worker behind that nobody would stop."""
        for pid in self.pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _is_enough(self) -> bool:
        ills = ("killed worker", "frozen worker", "stopped worker", "killed customer", *self._place.ills())
        return all(self.done[name] >= self._scale.each for name in ills)

    async def moment(self, most_s: float) -> None:
        """Let a random time pass, or less if the storm is over."""
        until = time.monotonic() + self.dice.random() * most_s
        while time.monotonic() < until and not self.is_over:
            await asyncio.sleep(0.02)

    async def until_somebody_is_served(self, within_s: float = 600) -> float:
        """Return when a call was acknowledged that began after now, or the storm is over: after how many seconds.

        Raises:
            AssertionError: It took longer than ``within_s``.
        """
        began = boot_ns()
        while not self.is_over and not any(call.is_ok and call.began_ns > began for call in self._calls()):
            took_s = (boot_ns() - began) / 1e9
            assert took_s <= within_s, f"nobody was served for {took_s:.0f} s"
            await asyncio.sleep(0.2)
        return (boot_ns() - began) / 1e9

    def _calls(self) -> list[Call]:
        return read_calls((self._folder / "calls").iterdir())

    @asynccontextmanager
    async def trouble(self, what: Literal["frozen", "cut_off"], name: str, *pids: int) -> AsyncIterator[None]:
        """Write down that something is done to processes (0: to all of them) for as long as the context lasts."""
        began = boot_ns()
        try:
            yield
        finally:
            self.troubles += [Trouble(what=what, pid=pid, at_ns=began, ended_ns=boot_ns()) for pid in pids]
            self.done[name] += not self.is_over

    async def _worker(self, name: str) -> None:
        """One worker after the other; those that are told to stop tell which rare branches they took."""
        ill = ""
        while not (self.is_over and ill == "stopped"):
            worker = await self._start_worker(name)
            listening = asyncio.create_task(worker.until_gone())
            while (ill := self.dice.choice(("frozen", "frozen", "killed", "stopped"))) == "frozen" and not self.is_over:
                await self.moment(0.8)
                async with self.trouble("frozen", "frozen worker", worker.pid):
                    await self._place.freeze(worker)
                    await self.moment(3 * LEASE_MS / 1000)
                worker.thaw()
            await self.moment(0.8)
            if self.is_over:
                await self._may_stop.wait()
                ill = "stopped"
            if ill == "killed":
                self.troubles.append(Trouble(what="killed", pid=worker.pid, at_ns=boot_ns()))
                worker.send_kill()
                await listening
            else:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                self._counters.update(await worker.stop())
            self.done[f"{ill} worker"] += not self.is_over

    async def _start_worker(self, name: str) -> Worker:
        with (self._folder / f"log-{name}").open("ab") as log:
            worker = await Worker.start(
                self._folder, await self._place.url(name), program="tests.checker.workload", log=log.fileno(),
                enter=self._place.enter(name), **SETTINGS,
            )  # fmt: skip
        self.pids[name] = worker.pid
        await worker.until_ready()
        return worker

    async def _member(self, member: int) -> None:
        """One customer after the other: who was killed is followed by one who has the same list."""
        while not self.is_over or self._lists[member] < self._begun:
            self._begun = max(self._begun, self._lists[member] + 1)
            process = await self._start_customer(member)
            try:
                while process.returncode is None:
                    ended = asyncio.create_task(process.wait())
                    await asyncio.wait({ended, asyncio.create_task(self._has_begun(process.pid))}, return_when=FIRST_COMPLETED)
                    await asyncio.wait({ended, asyncio.create_task(self.moment(6))}, return_when=FIRST_COMPLETED)
                    if process.returncode is None and not self.is_over:
                        with suppress(ProcessLookupError):
                            os.kill(process.pid, signal.SIGKILL)  # the method of `process` may take its end from who awaits it
                        await ended
                        self.done["killed customer"] += 1
                    elif self.is_over:
                        await ended
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if process.returncode == 0:
                self._lists[member] += 1
            else:
                assert process.returncode == -9, f"a customer ended with {process.returncode}"

    async def _has_begun(self, pid: int) -> None:
        """Return when a customer has asked for something, or the storm is over."""
        while not self.is_over and not any((self._folder / "calls").glob(f"{pid}-*.jsonl")):
            await asyncio.sleep(0.05)

    async def _start_customer(self, member: int) -> Process:
        settings = {f"STEPWELL_{name.upper()}": str(value) for name, value in SETTINGS.items()}
        environment = {**os.environ, **settings, "PYTHONPATH": f"{_ROOT / 'src'}{os.pathsep}{_ROOT}"}
        arguments = [self._seed, str(member), str(self._lists[member]), str(self._scale.errands)]
        url = await self._place.url(f"customer-{member}")
        command = [sys.executable, "-m", "tests.checker.customer", str(self._folder), url, *arguments]
        with (self._folder / f"log-customer-{member}").open("ab") as log:
            return await asyncio.create_subprocess_exec(*command, stderr=log, env=environment, cwd=_ROOT)


async def _some_ended(*tasks: asyncio.Task[None]) -> None:
    """Wait a little, or until a task fails: then fail as it did."""
    done, _ = await asyncio.wait(tasks, timeout=0.1, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
    await asyncio.sleep(0.02)


async def _resume_what_is_paused(client: AsyncClient) -> None:
    for run in await client.workflow.get_runs(status="paused"):
        with suppress(ConflictError):  # a customer was faster
            await client.workflow.resume(run.run_id)


async def _has_open_runs(client: AsyncClient) -> bool:
    counts = (await client.workflow.stats()).runs
    return any(count for status, count in counts.items() if status not in OVER)


async def prove(storm: CheckedStorm, evidence: Path) -> str:
    """Let a storm blow, and judge what was seen."""
    try:
        facts = await storm.blow()
    except BaseException:
        storm.keep(evidence)
        storm.end_workers()
        raise
    return judge(storm, facts, evidence)


def judge(storm: CheckedStorm, facts: Facts, evidence: Path) -> str:
    """Check everything; return what was seen and done.

    Raises:
        AssertionError: A promise was broken. All that was seen is kept in ``evidence``.
    """
    verdicts = check_all(facts)
    wrong = wrong_in(verdicts)
    if not storm.is_in_time:
        wrong.append(f"something was not over {PATIENCE_S} s after the last disturbance")
    if wrong:
        raise AssertionError("\n".join([*wrong[:50], f"({len(wrong)} in all; the evidence is in {storm.keep(evidence)})"]))
    lines = [
        f"{len(facts.histories)} runs, {len(facts.effects)} bodies, {len(facts.calls)} calls, {_unknown(facts)} of them unknown",
        ", ".join(f"{name}: {count}" for name, count in sorted(storm.done.items())),
        ", ".join(f"{name}: {verdict.looked_at}" for name, verdict in verdicts.items()),
        ", ".join(f"{name}: {count}" for name, count in sorted(facts.counters.items())),
    ]
    took = went_on_elsewhere(facts)
    if took:
        lines.append(
            f"after {len(took)} losses of a worker its runs went on elsewhere: half of them within {took[len(took) // 2]} ms, "
            f"all within {took[-1]} ms (the lease: {LEASE_MS} ms)"
        )
    if storm.outages_s:
        lines.append(f"nobody was served for at most {max(storm.outages_s):.1f} s, {len(storm.outages_s)} times")
    excused = {name: verdict.excused for name, verdict in verdicts.items() if verdict.excused}
    if excused:
        lines.append(f"excused, as the promise says: {excused}")
    missing = [*not_tested(verdicts), *storm.not_tested(facts)]
    if missing:
        lines.append(f"NOT TESTED, for it never happened: {', '.join(missing)}")
    return "\n    ".join(lines)


def _unknown(facts: Facts) -> int:
    return sum(call.outcome == "unknown" for call in facts.calls)
