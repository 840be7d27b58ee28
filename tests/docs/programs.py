"""Programs of the documentation, run as their reader would run them: in a process and a folder of their own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import stepwell
from tests.house.tree import ROOT

PATIENCE_S = 120
"""No limit of a test: when it passes, something hangs."""

_SOURCES = str(Path(stepwell.__file__).parents[1])
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page that are marked with this language, "" for none."""
    return [text for marked, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if marked == language]


def pages() -> list[Path]:
    """Return every page that is written for readers."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _start(command: list[str], folder: Path, url: str | None) -> "subprocess.Popen[str]":
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("STEPWELL_", "FORCE_COLOR"))}
    env = {**ours, "PYTHONPATH": _SOURCES, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    if url is not None:
        env["STEPWELL_URL"] = url
    return subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=env, text=True, encoding="utf-8", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(*command: str, folder: Path, url: str | None = None) -> list[str]:
    """Run Python with these arguments to a good end; return the lines that it printed. It must not complain."""
    with _start(list(command), folder, url) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, ""), err
    return out.splitlines()


def run_until_killed(*command: str, folder: Path, at: str) -> list[str]:
    """Run Python with these arguments, and kill it as soon as it has printed this line; return all that it printed."""
    printed: list[str] = []
    with _start(list(command), folder, None) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line.rstrip("\n"))
            if printed[-1] == at:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    return printed
