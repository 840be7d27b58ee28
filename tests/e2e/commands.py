"""The command line as a user runs it: in a process of its own."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import stepwell
from tests.e2e.forked import Forked
from tests.secrets import secrets_in

_SOURCES = str(Path(stepwell.__file__).parents[1])
PATIENCE_S = 60
"""No limit of a test: when it passes, something hangs."""


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def _ended(code: int, out: str, err: str) -> Done:
    """Return what a command has left, once its standard error was looked through: there it logs."""
    told = [line for line in err.splitlines() if not line.startswith("The first key")]
    assert secrets_in("\n".join(told)) == []
    return Done(code, out, err)


class Running:
    """A command that goes on. Its standard error can be awaited line by line."""

    def __init__(self, process: Forked) -> None:
        self.process = process
        self.err: list[str] = []
        self._queue: Queue[str | None] = Queue()
        self._out: list[str] = []
        self._readers = [threading.Thread(target=self._read_err), threading.Thread(target=self._read_out)]
        for reader in self._readers:
            reader.start()

    def _read_err(self) -> None:
        with self.process.stderr as told:
            for line in told:
                self._queue.put(line)
        self._queue.put(None)

    def _read_out(self) -> None:
        with self.process.stdout as printed:
            self._out.append(printed.read())

    def until(self, text: str) -> str:
        """Wait for a line on standard error that holds this text."""
        while (line := self._queue.get(timeout=PATIENCE_S)) is not None:
            self.err.append(line)
            if text in line:
                return line
        raise AssertionError(f"ended without saying {text!r}: {''.join(self.err)}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def done(self) -> Done:
        """Wait for its end."""
        code = self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join()
        while not self._queue.empty():
            self.err.append(self._queue.get() or "")
        return _ended(code, "".join(self._out), "".join(self.err))


class Shell:
    """A folder with a store in it, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = "sqlite:///runs.db"

    def _env(self, env: Mapping[str, str]) -> dict[str, str]:
        ours = {
            name: value for name, value in os.environ.items() if not name.startswith(("STEPWELL_", "FORCE_COLOR", "NO_COLOR"))
        }
        return {**ours, "PYTHONPATH": _SOURCES, "STEPWELL_URL": self.url, **env}

    def run(self, *args: str, stdin: str = "", **env: str) -> Done:
        """Run a command to its end."""
        process = Forked(args, self.folder, self._env(env))
        running = Running(process)
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stdin)
        return running.done()

    def paste(self, line: str) -> Done:
        """Run a line as a shell would in which nothing of ours is on the path."""
        done = subprocess.run(
            line,
            shell=True,
            cwd=self.folder,
            env=self._env({"PATH": os.defpath}),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return _ended(done.returncode, done.stdout, done.stderr)

    def run_unread(self, *args: str) -> Done:
        """Run a command whose standard output nobody reads."""
        process = Forked(args, self.folder, self._env({}))
        process.stdin.close()
        process.stdout.close()
        with process.stderr:
            err = process.stderr.read()
        return _ended(process.wait(PATIENCE_S), "", err)

    def run_at_terminal(self, *args: str, **env: str) -> str:
        """Run a command at a terminal; return what is on its screen, codes included."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "stepwell", *args], cwd=self.folder, stdin=theirs, stdout=theirs, stderr=theirs,
            env=self._env({"TERM": "xterm-256color", "COLUMNS": "200", **env}),
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        # Linux says EIO, and not the end, when the other side of a terminal has gone.
        with suppress(OSError):
            while piece := os.read(ours, 65_536):
                shown += piece
        os.close(ours)
        process.wait(PATIENCE_S)
        return shown.decode()

    @contextmanager
    def start(self, *args: str, **env: str) -> Iterator[Running]:
        """Start a command; it does not outlive the block."""
        process = Forked(args, self.folder, self._env(env))
        process.stdin.close()
        running = Running(process)
        try:
            yield running
        finally:
            process.send_signal(signal.SIGKILL)
            running.done()
