"""A PgBouncer in transaction mode for tests, as Debian has it: each transaction comes to another session of the server."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

_SETTINGS = """
[databases]
* = host={host} port={port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_round_robin = 1
max_client_conn = 500
logfile = {folder}/log
pidfile =
"""


def is_there() -> bool:
    """Tell whether it is installed."""
    return program() is not None


def program() -> str | None:
    """Return where it is: not always where a plain user looks for programs."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextlib.contextmanager
def between(dsn: str) -> Generator[str]:
    """Run one before the server of an address; give the address that leads through it."""
    found = program()
    if found is None:
        pytest.skip("NOT TESTED: PgBouncer is not installed (scripts/system-packages postgres)")
    parts = urlsplit(dsn)
    folder = Path(tempfile.mkdtemp(prefix="stepwell-pgbouncer-", dir="/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own_port = probe.getsockname()[1]
    settings = folder / "pgbouncer.ini"
    settings.write_text(_SETTINGS.format(host=parts.hostname, port=parts.port or 5432, own_port=own_port, folder=folder))
    command = ["setpriv", "--pdeathsig", "TERM", found, "-q", str(settings)]
    if os.geteuid() == 0:  # which it refuses
        shutil.chown(folder, "nobody")
        command[1:1] = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    pooler = subprocess.Popen(command)
    try:
        _wait_ready(pooler, own_port, folder)
        yield dsn.replace(f":{parts.port}/", f":{own_port}/")
    finally:
        pooler.terminate()
        pooler.wait()
        shutil.rmtree(folder)


def _wait_ready(pooler: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    while True:
        if pooler.poll() is not None:
            raise RuntimeError(f"PgBouncer has ended: {(folder / 'log').read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
