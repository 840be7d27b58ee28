"""What all measurements share: repetition, medians, the loop, fresh files, and the form of a result.

The machine is noisy, so nothing is compared with a figure from another moment: a measurement and its floor take turns, and the
ratio is the median of the ratios of neighbours.
"""

import asyncio
import gc
import statistics
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stepwell.settings import Settings

try:
    import uvloop
except ImportError:
    LOOP = "asyncio"
    _new_loop = None
else:
    LOOP = "uvloop"
    _new_loop = uvloop.new_event_loop

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    """In the same unit: what the machine does without an engine."""
    ratio: float | None = None
    bound: str = ""
    """In words; "" for a figure that is only shown."""
    ok: bool | None = None
    note: str = ""
    samples: Sequence[float] = ()


@dataclass
class Setup:
    """Where and how much."""

    short: bool
    folder: Path
    _count: int = field(default=0, init=False)

    def pick(self, short: T, long: T) -> T:
        """Return the value for this form."""
        return short if self.short else long

    def file(self, name: str) -> Path:
        """Return a path in a folder of its own, where no file is yet."""
        self._count += 1
        folder = self.folder / f"{self._count:03}-{name}"
        folder.mkdir()
        return folder / "bench.db"


@dataclass(frozen=True)
class Pair:
    """One repetition: the engine, and right after it the floor. Both in the same unit."""

    value: float
    floor: float


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on a loop of its own, the fast one if it is installed, and collect garbage as seldom as ``stepwell worker`` does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(main)


def pairs(times: int, once: Callable[[], Pair], *, warm: bool = True) -> list[Pair]:
    """Repeat; the first time, which pays for imports and caches, does not count."""
    if warm:
        once()
    return [once() for _ in range(times)]


def median_ratio(found: Iterable[Pair]) -> float:
    """Return the median of value / floor, each pair from neighbouring moments."""
    return statistics.median(pair.value / pair.floor for pair in found)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered)) - 1))]


def scratch(parent: Path) -> "tempfile.TemporaryDirectory[str]":
    """Return a folder on the disk of the results: a memory disk would make every sync free."""
    parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="scratch-", dir=parent, ignore_cleanup_errors=True)


def settings(**changes: int) -> Settings:
    """Return the defaults, whatever the environment says."""
    return Settings(**changes)


def per_second(count: int, seconds: float) -> float:
    return count / seconds


def from_pairs(
    name: str, found: Sequence[Pair], unit: str, *, bound: str, ok: Callable[[float, float], bool] | None, note: str = ""
) -> Figure:
    """Sum up repetitions. ``ok`` is asked with the median value and the median ratio."""
    value, ratio = statistics.median(pair.value for pair in found), median_ratio(found)
    return Figure(
        name=name,
        value=value,
        unit=unit,
        floor=statistics.median(pair.floor for pair in found),
        ratio=ratio,
        bound=bound,
        ok=None if ok is None else ok(value, ratio),
        note=note,
        samples=[pair.value for pair in found],
    )
