"""``python -m tests.powerloss [--short] [--seed N]``: play power losses over a real run, and print what was seen."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.powerloss.proof import LONG, SHORT, record_lives, sweep_lives
from tests.powerloss.sweep import compile_library

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.powerloss", description="Play power losses over a real run.")
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    parser.add_argument("--seed", type=int, default=1, help="which random disk contents to try")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        form, scratch = SHORT if given.short else LONG, Path(name).resolve()
        record_lives(form, compile_library(scratch), scratch)
        report = sweep_lives(form, scratch, seed=given.seed).run()
    print(report)
    print(*report.losses, sep="\n")
    sys.exit(1 if report.losses else 0)
