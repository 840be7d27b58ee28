"""A PostgreSQL of its own, which syncs what it says it has, to be killed and started again. All calls block."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from tests import postgres

_SETTINGS: Final = {"listen_addresses": "127.0.0.1", "max_connections": "200", "log_min_messages": "fatal"}


class Server:
    """One server, in a folder of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="stepwell-pg-", dir="/tmp"))
        self._binaries, self._run = postgres.installed(self._folder)
        self._server: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._call("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=utf8").wait()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Start it, and return when it answers: what it has recovered is there then."""
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self._server = self._call("postgres", "-D", str(self._data), "-p", str(self.port), "-k", str(self._folder), *options)
        postgres.wait_ready(self._server, self.port)

    def kill(self) -> None:
        """End all its processes at once, wherever they are."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def _call(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._binaries / program, *arguments], stdout=log, stderr=log, start_new_session=True, **self._run
            )  # fmt: skip

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
