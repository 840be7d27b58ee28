"""Commands in processes of their own that need not start from nothing: each is forked from one that has loaded all that it needs.

What a command prints, how it exits, and what a signal does to it is as ever. Loading costs ten times what most commands do.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_REQUEST_BYTES_MAX = 1 << 17


class Forked:
    """A command that was started; of ``subprocess.Popen`` what tests need."""

    def __init__(self, args: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> None:
        (reads, ours_in), (self._told, telling), (ours_out, prints), (ours_err, complains) = (os.pipe() for _ in range(4))
        theirs = [telling, reads, prints, complains]
        socket.send_fds(_parent(), [json.dumps([args, str(folder), dict(env)]).encode()], theirs)
        for end in theirs:
            os.close(end)
        self.stdin = os.fdopen(ours_in, "w", encoding="utf-8")
        self.stdout = os.fdopen(ours_out, encoding="utf-8")
        self.stderr = os.fdopen(ours_err, encoding="utf-8")
        self.pid = int(os.read(self._told, 100))
        self._code: int | None = None

    def wait(self, timeout_s: float) -> int:
        """Return the exit code; that of a signal is negative."""
        if self._code is None:
            if not select.select([self._told], [], [], timeout_s)[0]:
                raise TimeoutError(f"process {self.pid} goes on and on")
            self._code = int(os.read(self._told, 100))
            os.close(self._told)
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        if self.lives():
            os.kill(self.pid, number)

    def lives(self) -> bool:
        with contextlib.suppress(TimeoutError):
            self.wait(0)
        return self._code is None


@cache
def _parent() -> socket.socket:
    """Start the process that commands are forked from. It ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # By its path: nothing of the tests is to be found by a command.
        command = [sys.executable, __file__, str(theirs.fileno())]
        parent = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    parent.returncode = 0  # nobody waits for it
    return ours


def _load() -> None:
    """Load what commands import, and nothing that makes a thread or a loop."""
    import stepwell.remote.engine
    import stepwell.server.serving
    import stepwell.store.move
    import stepwell.store.postgres
    import stepwell.store.sqlite  # noqa: F401
    from stepwell.cli import app

    app._load_commands()
    gc.freeze()  # what lies still is shared


def _become_command(requests: socket.socket) -> None:
    """Carry out requests, each in a new process: there it returns. Say of each process its id, and its exit code at its end."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([requests, *running], [], [])[0]:
            if isinstance(ready, int):
                pid, telling = running.pop(ready)
                _tell(telling, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(telling)
                os.close(ready)
                continue
            request, ends, _, _ = socket.recv_fds(requests, _REQUEST_BYTES_MAX, 4)
            if not request:
                sys.exit()
            telling, *standard = ends
            pid = os.fork()
            if pid == 0:
                requests.detach()
                for number, end in enumerate(standard):
                    os.dup2(end, number)
                os.closerange(3, 1_024)
                _settle(*json.loads(request))
                return
            _tell(telling, pid)
            running[os.pidfd_open(pid)] = pid, telling
            for end in standard:
                os.close(end)


def _tell(telling: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(telling, b"%d\n" % number)


def _settle(args: list[str], folder: str, env: dict[str, str]) -> None:
    """Have everything as it is after ``python -m stepwell``."""
    import stepwell.__main__
    from stepwell import failpoints

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[:] = [stepwell.__main__.__file__, *args]
    sys.path[0] = folder
    sys.dont_write_bytecode = True  # modules that tests change within a second are not taken for those that were compiled
    failpoints._parse(env.get("STEPWELL_FAILPOINTS", ""))


if __name__ == "__main__":
    _load()
    _become_command(socket.socket(fileno=int(sys.argv[1])))
    from stepwell.__main__ import main

    main()
