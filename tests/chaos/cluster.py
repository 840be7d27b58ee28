"""Two PostgreSQL under Patroni, with etcd, replicating synchronously: a primary that is killed is succeeded by the other.

All of it from Debian (``scripts/system-packages failover``), as processes in a folder of their own. All calls block.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final, Self

from tests.chaos.server import kill_tree

_PATIENCE_S: Final = 120
_DCS: Final = {
    "ttl": 10, "loop_wait": 1, "retry_timeout": 3, "synchronous_mode": True, "maximum_lag_on_failover": 1_048_576,
    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {"max_connections": 200, "wal_log_hints": "on"}},
}  # fmt: skip


class NotInstalledError(Exception):
    """A program is missing. The text says which."""


def _programs() -> Path:
    """Return where the programs of PostgreSQL are."""
    for program in ("patroni", "etcd", "setpriv"):
        if shutil.which(program) is None:
            raise NotInstalledError(f"there is no {program}: scripts/system-packages failover")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise NotInstalledError("there is no PostgreSQL from Debian: scripts/system-packages failover")
    return found[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Two members, ``0`` and ``1``, of which one is the primary."""

    def __init__(self) -> None:
        self._bin = _programs()
        self._folder = Path(tempfile.mkdtemp(prefix="stepwell-patroni-", dir="/tmp"))
        shutil.chown(self._folder, "nobody", "nogroup")
        self._etcd_port, self._ports, self._rest = _free_port(), [_free_port(), _free_port()], [_free_port(), _free_port()]
        self._etcd: subprocess.Popen[bytes] | None = None
        self._patronis: list[subprocess.Popen[bytes] | None] = [None, None]

    @property
    def url(self) -> str:
        """The address of both."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"

    def _start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        env = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "LC_ALL": "C.UTF-8"}
        with (self._folder / f"log-{name}").open("ab") as log:
            return subprocess.Popen(
                [*as_nobody, *command], cwd=self._folder, stdout=log, stderr=log, start_new_session=True, env=env
            )  # fmt: skip

    def start(self, member: int) -> None:
        """Start a member."""
        file = self._folder / f"{member}.json"  # YAML as well
        file.write_text(json.dumps(self._configuration(member)), encoding="utf-8")
        self._patronis[member] = self._start(f"patroni-{member}", "patroni", str(file))

    def _configuration(self, member: int) -> dict[str, Any]:
        place = f"127.0.0.1:{self._ports[member]}"
        rest = f"127.0.0.1:{self._rest[member]}"
        return {
            "scope": "stepwell", "name": f"member-{member}", "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": f"127.0.0.1:{self._etcd_port}"},
            "bootstrap": {"dcs": _DCS, "initdb": [{"encoding": "UTF8"}, {"auth": "trust"}]},
            "postgresql": {
                "listen": place, "connect_address": place, "bin_dir": str(self._bin),
                "data_dir": str(self._folder / f"data-{member}"), "pgpass": str(self._folder / f"pgpass-{member}"),
                "parameters": {"unix_socket_directories": str(self._folder)},
                "pg_hba": [
                    "local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"
                ],
                "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "replicator"}},
            },
        }  # fmt: skip

    def kill(self, member: int) -> None:
        """End a member at once: its PostgreSQL, and the Patroni that would start it again."""
        patroni = self._patronis[member]
        if patroni is not None:
            with contextlib.suppress(FileNotFoundError):
                postmaster = int((self._folder / f"data-{member}" / "postmaster.pid").read_text("utf-8").split()[0])
                os.killpg(patroni.pid, signal.SIGKILL)
                kill_tree(postmaster)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(patroni.pid, signal.SIGKILL)
            patroni.wait()
            self._patronis[member] = None

    def primary(self) -> int:
        """Return which member is the primary, once Patroni knows that the other would succeed it: only then may it be killed."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            for port in self._rest:
                roles = _roles(port)
                if sorted(roles.values()) == ["leader", "sync_standby"]:
                    return next(member for member in range(2) if roles[f"member-{member}"] == "leader")
            time.sleep(0.2)
        raise TimeoutError(f"no primary with a synchronous standby after {_PATIENCE_S} s: {self.last_words()}")

    def last_words(self) -> str:
        """Return the ends of the logs."""
        return "\n".join(f"{log.name}: {log.read_text('utf-8')[-3000:]}" for log in sorted(self._folder.glob("log-*")))

    def __enter__(self) -> Self:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{_free_port()}"
        self._etcd = self._start(
            "etcd", "etcd", "--data-dir", str(self._folder / "etcd"), "--listen-client-urls", client, "--advertise-client-urls",
            client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        )  # fmt: skip
        try:
            self.start(0)
            self.start(1)
            self.primary()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(0)
        self.kill(1)
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _roles(port: int) -> dict[str, str]:
    """Return what a Patroni says of the members that it knows, by name; nothing if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/cluster", timeout=2) as answer:
            return {member["name"]: member["role"] for member in json.load(answer)["members"]}
    except (OSError, ValueError, KeyError):
        return {}
