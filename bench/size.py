"""What a finished run takes on the disk, indexes included: a run of ten small steps, in a file and in PostgreSQL."""

from pathlib import Path

from bench import postgres, server
from bench.harness import Figure, Setup, run
from bench.throughput import STEPS, wave

EVENTS = STEPS + 3
_SIZES = """
SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""


def measure(setup: Setup) -> list[Figure]:
    runs = setup.pick(2_000, 10_000)
    return [_in_a_file(setup.file("size"), runs), _in_postgres(runs)]


def _in_a_file(path: Path, runs: int) -> Figure:
    run(wave(path, 1))  # the tables, and what is there once
    empty = path.stat().st_size
    run(wave(path, runs))
    return _figure("SQLite", (path.stat().st_size - empty) / runs, runs, "the file, its log moved into it")


def _in_postgres(runs: int) -> Figure:
    with server.database() as url:
        run(postgres.wave(url, 1))
        before = _sizes(url)
        run(postgres.wave(url, runs))
        server.sql("VACUUM", url)
        after = _sizes(url)
    grown = {table: tuple((after[table][n] - before[table][n]) / runs for n in (0, 1)) for table in after}
    note = ", ".join(
        f"{table} {rows:,.0f} + {indexes:,.0f} of indexes"
        for table, (rows, indexes) in sorted(grown.items(), key=lambda each: -sum(each[1]))
        if rows + indexes >= 50  # what there is once is no size of a run
    )
    return _figure("PostgreSQL", sum(map(sum, grown.values())), runs, note)


def _sizes(url: str) -> dict[str, tuple[int, int]]:
    return {str(name): (int(str(rows)), int(str(indexes))) for name, rows, indexes in server.sql(_SIZES, url)}


def _figure(store: str, value: float, runs: int, note: str) -> Figure:
    return Figure(f"size of a run, {store}", value, "bytes", note=f"{EVENTS} events each, {runs:,} runs; {note}")
