"""The statements themselves: that they are found by indexes, that they are portable, that they say what they are for."""

import asyncio
import re
from pathlib import Path

import apsw
import pytest

import stepwell.store
from stepwell.settings import Settings
from stepwell.store.base import RunQuery
from stepwell.store.listing import listing, to_count
from stepwell.store.plans import to_json
from stepwell.store.sqlite import SqliteStore
from stepwell.store.statements import statement
from tests.store.acting import BY_TAGS, SetClock

_FOLDER = Path(stepwell.store.__file__).parent
_FILES = sorted((_FOLDER / "sql").rglob("*.sql"))
_RUNS = 20_000

_KNOWN = to_json([("orders", "1"), ("other", "")])
_IDS = to_json([f"run-{n}" for n in range(50)])
_PAIRS = to_json([(f"run-{n}", "signal", "m") for n in range(50)])
_STRETCHES = to_json([(f"run-{n}", 1, 9) for n in range(50)])

_ASKED = {
    "common/begin_batch": ("b", 1, "boot", "node", 0),
    "common/keep_alive": (1, "boot", "node"),
    "common/retire": ("node",),
    "common/describe": ("{}", "node"),
    "common/batch_state": ("node",),
    "common/owned": ("node",),
    "common/copy_events": ("run-2", "run-1", 0, 9),
    "common/last_step": ("run-1",),
    "sqlite/poll": (_KNOWN, 5, 5, "node", "boot", 5),
    "sqlite/dead_owners": (),
    "sqlite/dead_nodes_without_runs": (),
    "sqlite/orphans_of_known": (to_json(["a"]), _KNOWN, 10),
    "sqlite/orphans": (to_json(["a"]), 10),
    "sqlite/late": (5, 10),
    "sqlite/late_owned": (5, 10),
    "sqlite/count_claimable": (10, 5),
    "sqlite/delete_tags": (_IDS,),
    "sqlite/retag": ('["a"]', "run-1"),
    "common/count_tagged": ("common", 1_000),
    "common/count_of_status": (5, 1_000),
    "sqlite/due_woken": (5, 10, _KNOWN),
    "sqlite/due_new": (_KNOWN, 5, 10),
    "sqlite/drafts": (_IDS,),
    "sqlite/find_rows": (_IDS,),
    "sqlite/find_known_runs": (_IDS,),
    "sqlite/statuses": (_IDS,),
    "sqlite/find_keys": (to_json([("orders", "k")]),),
    "sqlite/find_messages": (_PAIRS,),
    "sqlite/find_outside_events": (to_json([("run-1", "event:x")]),),
    "sqlite/mail_ids": (_STRETCHES,),
    "sqlite/unread_mail": (_IDS,),
    "sqlite/unread_mail_of": ("run-1",),
    "sqlite/histories": (_STRETCHES,),
    "sqlite/history": ("run-1", 1, 9),
    "sqlite/one_event": ("run-1", 1),
    "common/prunable": (5, 9_999_999, 0, "", 10),
    "common/expired": ("orders", "other", 9_999_999, 0, "", 10),
    "common/mail_of": ("run-1", 0, 10),
    "common/wear_down": (1, 1, "run-1"),
    "sqlite/tombstones": (10,),
    "sqlite/delete_events": (_STRETCHES,),
    "sqlite/delete_messages": (_STRETCHES,),
    "sqlite/delete_hooks": (_STRETCHES,),
    "sqlite/delete_keys": (_PAIRS,),
    "sqlite/delete_runs": (_IDS,),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> apsw.Connection:
    """A database with many runs of all kinds; without statistics, as it is in real life."""
    path = tmp_path_factory.mktemp("plans") / "store.db"

    async def create() -> None:
        store = SqliteStore(path, clock=SetClock(), settings=Settings())
        await store.open()
        await store.close()

    asyncio.run(create())
    connection = apsw.Connection(str(path))
    with connection:
        connection.execute(
            """
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)
            INSERT INTO runs SELECT
                'run-' || n, 'orders', '1', n % 6, CASE WHEN n % 12 = 1 THEN 'node' END, 1, 1, 0, 0, 0, n % 3, n, 0, 0, 2,
                n % 100 = 1, 0, CASE WHEN n % 6 < 2 THEN n END, n, 5, NULL, 100, '[]', CASE WHEN n % 9 = 0 THEN 'run-1' END, NULL,
                n, n, CASE WHEN n % 6 > 2 THEN n END, n, 'hash'
            FROM n
            """,
            (_RUNS,),
        )
        connection.execute("INSERT INTO events SELECT run_id, 1, 'run_created', '', '', '{}', 1 FROM runs")
        connection.execute("INSERT INTO events SELECT run_id, 2, 'seen', 'event:x', '', '{}', 1 FROM runs")
        connection.execute("INSERT INTO messages SELECT run_id, 1, 'signal', 'go', 'm', '{}', 1 FROM runs WHERE mailbox_seq = 1")
        connection.execute("INSERT INTO idempotency SELECT workflow, run_id, run_id, '' FROM runs")
        connection.execute("INSERT INTO run_tags SELECT run_id, 'tag-' || (created_at % 500), created_at FROM runs")
        connection.execute("INSERT INTO run_tags SELECT run_id, 'common', created_at FROM runs")
        connection.execute("INSERT INTO nodes VALUES ('node', 1, 0, '', NULL, '', '{}')")
    return connection


@pytest.mark.parametrize("name", sorted(_ASKED))
def test_no_statement_scans_a_table_that_grows(filled: apsw.Connection, name: str):
    assert _scans(filled, statement(name), _ASKED[name]) == []


@pytest.mark.parametrize(("name", "width"), [("sqlite/advance_runs", 3), ("sqlite/move_runs", 18)])
@pytest.mark.parametrize("rows", [1, 64])
def test_runs_are_written_by_their_key(filled: apsw.Connection, name: str, width: int, rows: int):
    row = f"({', '.join('?' * width)})"
    text = statement(name).replace("{rows}", ", ".join([row] * rows))
    assert _scans(filled, text, (*(["run-1"] * width * rows), 1)) == []


@pytest.mark.parametrize(
    "where", ["1 = 1", "workflow = 'orders'", "status = 5", "parent_run_id = 'run-1'", "(created_at, run_id) < (500, 'run-500')"]
)
def test_lists_read_an_index_from_its_end_and_sort_nothing(filled: apsw.Connection, where: str):
    text = statement("common/list_runs").replace("{where}", where)
    plan = _plan(filled, text, ())
    assert "INDEX" in plan[0]
    assert not any("TEMP B-TREE" in line for line in plan), plan
    before = filled.total_changes()
    assert len(filled.execute(text + " LIMIT 20").fetchall()) == 20
    assert filled.total_changes() == before


@pytest.mark.parametrize(("found", "query"), BY_TAGS)
def test_a_list_by_tags_costs_no_more_than_the_rarest_of_them(filled: apsw.Connection, found: int, query: RunQuery):
    counted = [filled.execute(statement(f"common/{count.name}"), count.parameters).get for count in to_count(query)]
    name, where, parameters = listing(query, counted)
    dialect = "sqlite" if name == "list_tagged" else "common"
    text = statement(f"{dialect}/{name}").replace("{where}", where)
    assert _scans(filled, text, tuple(parameters)) == []
    assert not any("TEMP B-TREE" in line for line in _plan(filled, text, tuple(parameters)))
    assert len(_few_steps(filled, f"{text} LIMIT {query.limit}", tuple(parameters))) == found


@pytest.mark.parametrize("name", ["due_woken", "due_new", "poll", "dead_owners", "late", "count_claimable", "expired"])
def test_what_is_asked_again_and_again_costs_the_same_however_many_runs_there_are(filled: apsw.Connection, name: str):
    (where,) = {"common", "sqlite"} & {asked.partition("/")[0] for asked in _ASKED if asked.endswith(f"/{name}")}
    _few_steps(filled, statement(f"{where}/{name}"), _ASKED[f"{where}/{name}"])


def _few_steps(connection: apsw.Connection, text: str, parameters: tuple[object, ...]) -> list[tuple[object, ...]]:
    """Carry out a statement, and make sure that it does not look at most of the runs."""
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    connection.set_progress_handler(count, 100)
    try:
        found = connection.execute(text, parameters).fetchall()  # type: ignore[arg-type]
    finally:
        connection.set_progress_handler(None)
    assert steps * 100 < _RUNS / 5
    return found


@pytest.mark.parametrize("name", ["count_in_flight", "count_by_status"])
def test_runs_are_counted_without_reading_their_rows(filled: apsw.Connection, name: str):
    assert "COVERING INDEX" in _plan(filled, statement(f"common/{name}"), ())[0]


def test_finished_runs_are_in_no_index_of_what_is_to_be_done(filled: apsw.Connection):
    plan = _plan(filled, "SELECT count(*) FROM runs INDEXED BY runs_due WHERE owner IS NULL AND wake_at IS NOT NULL", ())
    assert "runs_due" in plan[0]
    indexed = filled.execute(
        "SELECT count(*) FROM runs INDEXED BY runs_due WHERE owner IS NULL AND wake_at IS NOT NULL AND status > 1"
    ).get
    assert indexed == 0


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_a_file_opens_with_its_purpose_and_holds_one_statement(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- ")
    assert ";" not in re.sub(r"'[^']*'", "", "\n".join(line for line in text.splitlines() if not line.startswith("--")))


_FORBIDDEN = re.compile(
    r"\b(AUTOINCREMENT|SERIAL|SEQUENCE|TRIGGER|REFERENCES|FOREIGN|PROCEDURE|ENUM|GENERATED|TEMP|TEMPORARY|ADVISORY|xmin|ctid|rowid"
    r"|REPLACE INTO|NOW\(\)|CURRENT_TIMESTAMP|RANDOM|GLOB|ATTACH|VACUUM|INDEXED BY)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", [*_FILES, *sorted((_FOLDER / "migrations").rglob("*.sql"))], ids=lambda path: path.stem)
def test_a_statement_uses_nothing_that_another_database_lacks(path: Path):
    code = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("--"))
    assert _FORBIDDEN.findall(code.replace("WITHOUT ROWID", "")) == []
    if path.parent.name == "common":
        assert not re.search(r"json_|->>|\biif\b|\bSTRICT\b", code)


def test_every_key_of_what_belongs_to_a_run_starts_with_run_id():
    schema = "".join(path.read_text(encoding="utf-8") for path in (_FOLDER / "migrations").rglob("*.sql"))
    for table in ("events", "messages"):
        created = schema.partition(f"CREATE TABLE {table} (")[2].partition(") STRICT")[0]
        assert "PRIMARY KEY (run_id, " in created
    for columns in re.findall(r"CREATE UNIQUE INDEX \w+ ON (?:events|messages|runs) \(([^)]*)\)", schema):
        assert columns.startswith("run_id")


def test_parameters_are_numbered_in_the_order_in_which_they_appear():
    # SQLite takes them in that order, whatever their numbers.
    for path in _FILES:
        if path.parent.name in ("postgres", "plain"):
            continue
        code = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("--"))
        seen = list(dict.fromkeys(re.findall(r"\$(\d+)", code)))
        assert seen == [str(number) for number in range(1, len(seen) + 1)], path.name


def _plan(connection: apsw.Connection, text: str, parameters: tuple[object, ...]) -> list[str]:
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + text, parameters).fetchall()]  # type: ignore[arg-type]


def _scans(connection: apsw.Connection, text: str, parameters: tuple[object, ...]) -> list[str]:
    growing = ("runs", "run_tags", "also", "events", "stored", "held", "messages", "idempotency", "hooks", "gone")
    return [
        line
        for line in _plan(connection, text, parameters)
        if (line.startswith("SCAN") and line.split()[1] in growing) or "AUTOMATIC" in line
    ]
