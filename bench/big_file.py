"""Throughput on a file full of finished runs, in turns with an empty one."""

from pathlib import Path
from typing import Any

from bench.floor import Floor
from bench.harness import Figure, Pair, Setup, from_pairs, pairs, run
from bench.throughput import RUNS, STEPS, wave

BOUND = 0.8
EVENTS = 4
AT_ONCE = 20_000


def fill(path: Path, runs: int) -> None:
    """Put so many finished runs into a new file, each with a short history."""
    made = Floor(path)
    connection = made.connection
    columns = [(str(row[1]), str(row[2]), bool(row[3])) for row in connection.execute("PRAGMA table_info(runs)")]
    nothing: dict[str, Any] = {name: ("" if kind == "TEXT" else 0) if needed else None for name, kind, needed in columns}
    known = {"workflow": "ten-steps", "status": 3, "turn": 2, "attempt": 1, "seq": EVENTS, "max_events": 50_000, "tags": "[]"}
    insert = f"INSERT INTO runs VALUES ({', '.join('?' * len(columns))})"
    payload = '{"result":{"ok":true,"n":1},"attempt":1,"startedAt":1700000000000,"durationMs":0,"fingerprint":"0123456789abcdef"}'
    types = ("run_created", "run_started", "step_completed", "run_completed")
    for first in range(0, runs, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, runs))
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, (_row(n, nothing | known) for n in numbers))
        connection.executemany(
            "INSERT INTO events VALUES (?, ?, ?, '', '', ?, ?)",
            ((_id(n), seq + 1, types[seq], payload, 1_700_000_000_000 + n) for n in numbers for seq in range(EVENTS)),
        )
        connection.execute("COMMIT")
        connection.wal_checkpoint()
    connection.execute("DELETE FROM nodes")
    made.close()


def _id(n: int) -> str:
    # As ids are drawn: those of earlier runs sort before those of later ones.
    return f"0180{n >> 16:04x}-{n & 0xFFFF:04x}-7000-8000-{n * 2654435761 % 2**48:012x}"


def _row(n: int, row: dict[str, Any]) -> tuple[Any, ...]:
    at = 1_700_000_000_000 + n
    row |= {"run_id": _id(n), "created_at": at, "started_at": at, "completed_at": at, "updated_at": at}
    return tuple(row.values())


def measure(setup: Setup) -> list[Figure]:
    runs = setup.pick(100_000, 1_000_000)
    full = setup.file("full")
    fill(full, runs)

    def once() -> Pair:
        took, _, _ = run(wave(full, RUNS))
        empty, _, _ = run(wave(setup.file("empty"), RUNS))
        return Pair(RUNS * STEPS / took, RUNS * STEPS / empty)

    found = pairs(setup.pick(3, 7), once)
    note = f"{full.stat().st_size / 2**20:,.0f} MB; the floor is an empty file"
    name = f"{runs:,} finished runs in the file"
    return [from_pairs(name, found, "steps/s", bound=f"ratio >= {BOUND:.0%}", ok=lambda _, r: r >= BOUND, note=note)]
