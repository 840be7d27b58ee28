"""SIGKILL of the worker's process in the middle of the work, and another one at once.

Each body notes in a file that it has begun, before it does anything else. What had begun and was not recorded when the process
died may begin again; nothing else may.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import apsw

from bench.harness import Figure, Setup, run, settings
from stepwell import AsyncClient

RUNS = 200
STEPS = 10
STEP_S = 0.02
CONCURRENCY = 20
BOUND_S = 1.0


async def trigger_all(path: Path) -> None:
    async with AsyncClient(f"sqlite:///{path}", settings=settings()) as client:
        await asyncio.gather(*(client.workflow.trigger("slow-steps", [n]) for n in range(RUNS)))


def start(path: Path, begun: Path) -> "subprocess.Popen[bytes]":
    """Start a process that works until all runs are over."""
    return subprocess.Popen([sys.executable, "-m", "bench.victim", str(path), str(begun)], env=os.environ)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def recorded(path: Path) -> set[str]:
    """Return run and step of each step that is recorded. Nobody has the file open but this."""
    connection = apsw.Connection(str(path))
    rows = connection.execute("SELECT run_id || ' ' || step_id FROM events WHERE type = 'step_completed'").fetchall()
    connection.close()
    return {str(row[0]) for row in rows}


def measure(setup: Setup) -> list[Figure]:
    path = setup.file("kill")
    begun = path.with_name("begun")
    run(trigger_all(path))
    first = start(path, begun)
    while len(lines(begun)) < RUNS * STEPS // 2:
        time.sleep(0.005)
        assert first.poll() is None, "the worker ended by itself"
    first.send_signal(signal.SIGKILL)
    first.wait()
    before, done = Counter(lines(begun)), recorded(path)
    restarted = time.perf_counter()
    second = start(path, begun)
    code = second.wait(timeout=60)
    took = time.perf_counter() - restarted
    assert code == 0, f"the second worker exited with {code}"
    after = Counter(lines(begun))
    left = RUNS * STEPS - len(done)
    again = {name for name, times in after.items() if times > 1}
    assert len(recorded(path)) == RUNS * STEPS == len(after), "not every step was recorded"
    under_way = set(before) - done
    needed = left * STEP_S / CONCURRENCY
    wrong = len(again - under_way) + sum(times - 2 for times in after.values() if times > 2)
    later, is_soon = took - needed, took - needed <= BOUND_S
    note = f"{left} of {RUNS * STEPS} steps left, which take {needed:.2f} s; the start of the process counts"
    again_note = f"{len(again)} steps ran again, {len(under_way)} were under way"
    return [
        Figure("killed: longer than the work left", later, "s", bound=f"{BOUND_S} s", ok=is_soon, note=note),
        Figure("killed: recorded steps run again", wrong, "", bound="0", ok=wrong == 0, note=again_note),
    ]
