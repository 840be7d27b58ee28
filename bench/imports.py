"""``import stepwell`` in fresh interpreters, in turns with interpreters that import nothing."""

import os
import statistics
import subprocess
import sys
import time

from bench.harness import Figure, Setup

BOUND_MS = 150


def fresh(code: str) -> tuple[float, float]:
    """Return the milliseconds that an interpreter takes to run this and end: of the clock, and of the processor."""
    before, begun = _children_ms(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1000 * (time.perf_counter() - begun), _children_ms() - before


def _children_ms() -> float:
    times = os.times()
    return 1000 * (times.children_user + times.children_system)


def measure(setup: Setup) -> list[Figure]:
    fresh("import stepwell")
    found = [(fresh("import stepwell"), fresh("pass")) for _ in range(setup.pick(7, 21))]
    took = statistics.median(full[0] - bare[0] for full, bare in found)
    busy = statistics.median(full[1] - bare[1] for full, bare in found)
    floor = statistics.median(bare[0] for _, bare in found)
    ratio = statistics.median(full[0] / bare[0] for full, bare in found)
    note = f"more than an empty interpreter, which is the floor; {busy:.0f} ms of the processor"
    return [Figure("import stepwell", took, "ms", floor, ratio, bound=f"{BOUND_MS} ms", ok=took <= BOUND_MS, note=note)]
