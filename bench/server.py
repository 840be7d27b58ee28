"""A PostgreSQL for measurements, as a user would have it: what is committed is on the disk. And what its processes use."""

import contextlib
import functools
import os
import time
from pathlib import Path

from tests import postgres

# What the tests turn off is on, and the memory is that of a small server.
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "shared_buffers": "512MB", "max_wal_size": "4GB"}

_TICKS = os.sysconf("SC_CLK_TCK")


@functools.cache
def server() -> str:
    """Return the address of a server that ends with this process."""
    return postgres.start(_DURABLE)


def database() -> "contextlib.AbstractContextManager[str]":
    """Make an empty database, so to speak; yield its URL; drop it."""
    sql("CHECKPOINT")  # not while something is measured
    return postgres.schema(server())


def sql(text: str, url: str = "") -> list[tuple[object, ...]]:
    """Carry out one statement."""
    return postgres.sql(url or server(), text)


@functools.cache
def _postmaster() -> int:
    folder = str(sql("SHOW data_directory")[0][0])
    return int(Path(folder, "postmaster.pid").read_text().partition("\n")[0])


def used_s(*pids: int) -> float:
    """Return the processor time that the server, this process and others have used so far, in seconds."""
    main = _postmaster()
    ticks = sum(_stat(main)[11:15])  # those of its processes that have ended included
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = _stat(int(path.name))
            if fields[1] == main or int(path.name) in pids:
                ticks += sum(fields[11:13])
    return ticks / _TICKS + time.process_time()


def _stat(pid: int) -> list[int]:
    """Return what the kernel tells of a process: parent at 1, own times at 11 and 12, those of ended children at 13 and 14."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return [0, *map(int, fields[1:])]
