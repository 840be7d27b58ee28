"""``python -m bench [--short] [--only NAME] [--json FILE] [--strict]``."""

import argparse
import importlib
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.harness import LOOP, Figure, Setup, scratch
from bench.table import show

NAMES = (
    "throughput",
    "latency",
    "starts",
    "fanout",
    "long_run",
    "sleepers",
    "kill",
    "imports",
    "idle",
    "big_file",
    "size",
    "served",
    "records",
    "postgres",
)
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed and memory of stepwell, beside their floor.")
    parser.add_argument("--short", action="store_true", help="smaller numbers, about a minute")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}; repeatable")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json", metavar="FILE", help="default: %(default)s")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a bound is missed")
    given = parser.parse_args()
    figures: list[Figure] = []
    with scratch(RESULTS) as folder:
        for name in given.only or NAMES:
            begun = time.perf_counter()
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            (Path(folder) / name).mkdir()
            setup = Setup(short=given.short, folder=Path(folder) / name)
            figures += importlib.import_module(f"bench.{name}").measure(setup)
            print(f"{time.perf_counter() - begun:.1f} s", file=sys.stderr)
    show(figures)
    report = {
        "at": datetime.now(UTC),
        "form": "short" if given.short else "long",
        "loop": LOOP,
        "python": platform.python_version(),
        "system": platform.platform(),
        "figures": figures,
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    return 1 if given.strict and any(figure.ok is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
