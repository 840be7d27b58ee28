"""``import stepwell`` in fresh interpreters, in turns with interpreters that import nothing."""

import statistics
import subprocess
import sys
import time

from bench.harness import Figure, Setup

BOUND_MS = 150


def fresh(code: str) -> float:
    """Return the milliseconds that an interpreter takes to run this and end."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1000 * (time.perf_counter() - begun)


def measure(setup: Setup) -> list[Figure]:
    fresh("import stepwell")
    found = [(fresh("import stepwell"), fresh("pass")) for _ in range(setup.pick(7, 21))]
    took = statistics.median(with_it - bare for with_it, bare in found)
    whole, bare = (statistics.median(each) for each in zip(*found, strict=True))
    return [
        Figure(
            "import stepwell", took, "ms", floor=bare, ratio=whole / bare, bound=f"{BOUND_MS} ms", ok=took <= BOUND_MS,
            note=f"more than an empty interpreter, which is the floor; the whole process {whole:.0f} ms",
        )
    ]  # fmt: skip
