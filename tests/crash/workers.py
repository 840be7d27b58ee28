"""Worker processes as a test handles them: started, listened to, killed, frozen; and what they did to the world."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import stepwell
from stepwell import AsyncClient
from stepwell.model import Run
from stepwell.store.locks import LockFile

_ROOT = Path(stepwell.__file__).parents[2]


class Effect(NamedTuple):
    """A line in the file of effects: a body began."""

    pid: int
    run_id: str
    step_id: str
    nonce: str


class Worker:
    """A worker process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.pid = process.pid
        self.begun = 0

    @classmethod
    async def start(
        cls, folder: Path, *options: str, program: str = "tests.crash.process", log: int | None = None,
        enter: Sequence[str] = (), **settings: object,
    ) -> Self:  # fmt: skip
        """Start one. ``settings`` are of its engine: ``lease_ms=500`` is ``STEPWELL_LEASE_MS``; ``log`` is where it complains;
        ``enter`` is what its command begins with, to be on another machine.
        """
        environment = {**os.environ, "PYTHONPATH": f"{_ROOT / 'src'}{os.pathsep}{_ROOT}"}
        environment |= {f"STEPWELL_{name.upper()}": str(value) for name, value in settings.items()}
        command = [*enter, sys.executable, "-m", program, str(folder), *options]
        process = asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=log, env=environment, cwd=_ROOT)
        return cls(await process)

    async def line(self) -> str:
        """Return the next line that it says; "" once it is gone."""
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().strip()
        self.begun += line.startswith("began")
        return line

    async def until_ready(self) -> None:
        """Return when it takes runs, or is gone."""
        while await self.line() not in {"ready", ""}:
            pass

    async def until_begun(self, count: int) -> None:
        """Return when so many bodies have begun in it, or it is gone."""
        while self.begun < count and await self.line():
            pass

    async def until_gone(self) -> int:
        """Return how it has ended."""
        while await self.line():
            pass
        return await self.process.wait()

    async def kill(self) -> int:
        """End it with SIGKILL, if it has not ended yet; return how it has ended."""
        self.send_kill()
        return await self.until_gone()

    def send_kill(self) -> None:
        """Send it SIGKILL."""
        self._send(signal.SIGKILL)

    async def stop(self) -> Mapping[str, int]:
        """End it with SIGTERM; return its counters."""
        self._send(signal.SIGTERM)
        last = said = await self.line()
        while said:
            last, said = said, await self.line()
        assert await self.process.wait() == 0
        return dict(json.loads(last))

    def freeze_anywhere(self) -> None:
        """Stop it where it is."""
        self._send(signal.SIGSTOP)

    async def freeze(self, database: Path) -> None:
        """Stop it where it is, but not within a transaction: a process that is frozen there stops all others."""
        await asyncio.to_thread(self._freeze, database.with_name(f"{database.name}.writer"))

    def _freeze(self, lock_file: Path) -> None:
        lock = LockFile(lock_file)
        lock.acquire()
        try:
            self._send(signal.SIGSTOP)
            # All its threads have stopped, also one that waits for the lock, and it cannot be given to it any more.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)
        finally:
            lock.close()

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        # Not by the methods of `process`: they look whether it has ended, which then nobody else is told.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def open_gate(self) -> None:
        """Let its bodies that wait go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")


def effects(folder: Path) -> list[Effect]:
    """Return what bodies did to the world, in order."""
    lines = (folder / "effects").read_text().splitlines()
    return [Effect(int(pid), *rest) for pid, *rest in (line.split() for line in lines)]


async def completed(client: AsyncClient, run_ids: Sequence[str]) -> list[Run[Any]]:
    """Return these runs once they are over, completed all of them."""
    runs = [await client.workflow.wait(run_id, timeout=100) for run_id in run_ids]
    assert {run.status for run in runs} == {"completed"}
    return runs


async def check_exactly_once(client: AsyncClient, folder: Path, runs: Sequence[Run[Any]], steps: Sequence[str]) -> None:
    """Check that each step is recorded once, and that its body never began again after that.

    Each beginning has a number of its own, which is what the body returns: the one that is recorded must be the last.
    """
    last: dict[tuple[str, str], str] = {}
    for effect in effects(folder):
        last[effect.run_id, effect.step_id] = effect.nonce
    for run in runs:
        events = await client.workflow.get_events(run.run_id)
        recorded = [(event.step_id, event.payload["result"]) for event in events if event.event_type == "step_completed"]
        # promises 1 and 2
        assert [step_id for step_id, _ in recorded] == list(steps)
        assert [nonce for _, nonce in recorded] == run.output == [last[run.run_id, step_id] for step_id in steps]
    assert await client.check_store() == []
