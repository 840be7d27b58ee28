"""A PostgreSQL of its own, which syncs what it says it has, to be killed and started again. All calls block."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from tests import postgres

_SETTINGS: Final = {"max_connections": "200", "log_min_messages": "fatal"}


class Server:
    """One server, in a folder of its own.

    Args:
        enter: What its command begins with, to be on another machine.
        listen: Where it listens, besides the socket in its folder.
    """

    def __init__(self, *, enter: tuple[str, ...] = (), listen: str = "127.0.0.1") -> None:
        self._enter = enter
        self._listen = listen
        self._folder = Path(tempfile.mkdtemp(prefix="stepwell-pg-", dir="/tmp"))
        self._binaries, self._run = postgres.installed(self._folder)
        self._server: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._call("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=utf8").wait()
        with (self._data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write(f"host all all {listen}/8 trust\n")

    @property
    def url(self) -> str:
        """Its address."""
        return f"postgresql://postgres@{self._listen}:{self.port}/postgres"

    @property
    def socket_url(self) -> str:
        """The address of its socket, which no network lies before."""
        return f"postgresql://postgres@/postgres?host={self._folder}&port={self.port}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Start it, and return when it answers: what it has recovered is there then."""
        options = [
            part for name, value in (_SETTINGS | {"listen_addresses": self._listen}).items() for part in ("-c", f"{name}={value}")
        ]
        self._server = self._call("postgres", "-D", str(self._data), "-p", str(self.port), "-k", str(self._folder), *options)
        postgres.wait_ready(self._server, self.socket_url)

    def kill(self) -> None:
        """End all its processes at once, wherever they are."""
        if self._server is not None:
            kill_tree(self._server.pid)
            self._server.wait()
            self._server = None

    def _call(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        run = {**self._run, "start_new_session": True}
        enter = list(self._enter)
        if enter and run["user"] is not None:
            # Who enters a machine must be root, and what runs there must not.
            enter += ["setpriv", f"--reuid={run.pop('user')}", f"--regid={run.pop('group')}", "--clear-groups"]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen([*enter, self._binaries / program, *arguments], stdout=log, stderr=log, **run)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process, and to all that it has started: each of them is in a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)  # so that it starts no more
        for child in _children(pid):
            kill_tree(child)
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, _, rest = stat.read_text("utf-8", errors="replace").partition(" (")
            if int(rest.rpartition(")")[2].split()[1]) == pid:
                found.append(int(number))
    return found
