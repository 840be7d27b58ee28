"""The statements for PostgreSQL: that they use nothing which the databases that speak its protocol lack, and read indexes."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pglast
import pytest
from pglast import ast, enums
from pglast.visitors import Visitor

import stepwell.store
from stepwell.settings import Settings
from stepwell.store.base import RunQuery
from stepwell.store.listing import listing, to_count
from stepwell.store.plans import to_json
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_batch import PLANNING
from stepwell.store.postgres_capabilities import SWITCHES, Capabilities
from stepwell.store.postgres_migrate import MIGRATIONS
from stepwell.store.postgres_rows import _TEXTS, Speech
from tests import postgres
from tests.store.acting import BY_TAGS, SetClock

_FOLDER = Path(stepwell.store.__file__).parent
_SPEECH = Speech(None)
_PLAIN = Speech(None, Capabilities().without(list(SWITCHES)))
"""What is said to a database that lacks whatever can be missing."""
_RUNS = 100_000
_STEPS = [step for _, _, steps in MIGRATIONS for step in steps]
_OF_SQLITE = {"begin_batch", "keep_alive"}
"""Common statements that PostgreSQL has its own form of."""

_FORBIDDEN_FUNCTIONS = re.compile(r"nextval|currval|setval|pg_(try_)?advisory.*|txid_.*|pg_current_xact.*|random|clock_timestamp")
_FORBIDDEN_COLUMNS = {"xmin", "xmax", "ctid", "cmin", "cmax", "tableoid"}
_TYPES = {"text", "int8"}


class _Portable(Visitor):  # the names of its methods are given
    """Collects what may not be used."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def visit_FuncCall(self, _: Any, node: ast.FuncCall) -> None:  # noqa: N802
        name = node.funcname[-1].sval
        if _FORBIDDEN_FUNCTIONS.fullmatch(name):
            self.wrong.append(f"calls {name}")

    def visit_ColumnRef(self, _: Any, node: ast.ColumnRef) -> None:  # noqa: N802
        last = node.fields[-1]
        if isinstance(last, ast.String) and last.sval in _FORBIDDEN_COLUMNS:
            self.wrong.append(f"reads {last.sval}")

    def visit_SubLink(self, ancestors: Any, node: ast.SubLink) -> None:  # noqa: N802
        # NOT IN (SELECT …) is NOT around an ANY of a query; rows that come while it waits would count as absent.
        parent = ancestors.parent.node if isinstance(ancestors.node, tuple) else ancestors.node
        is_negated = isinstance(parent, ast.BoolExpr) and parent.boolop == enums.BoolExprType.NOT_EXPR
        if node.subLinkType in (enums.SubLinkType.ANY_SUBLINK, enums.SubLinkType.ALL_SUBLINK) and is_negated:
            self.wrong.append("NOT IN (SELECT …)")

    def visit_ColumnDef(self, _: Any, node: ast.ColumnDef) -> None:  # noqa: N802
        if node.typeName is None or (not node.constraints and node.typeName.arrayBounds is None and node.is_local is False):
            return
        name = node.typeName.names[-1].sval
        if node.typeName.arrayBounds:
            self.wrong.append(f"column {node.colname} is an array")
        if name not in _TYPES:
            self.wrong.append(f"column {node.colname} is of type {name}")

    def visit_Constraint(self, _: Any, node: ast.Constraint) -> None:  # noqa: N802
        kinds = enums.ConstrType
        if node.contype in (kinds.CONSTR_FOREIGN, kinds.CONSTR_IDENTITY, kinds.CONSTR_GENERATED, kinds.CONSTR_EXCLUSION):
            self.wrong.append(f"constraint {node.contype.name}")


def _wrong(text: str) -> list[str]:
    found = _Portable()
    statements = pglast.parse_sql(text)
    assert len(statements) == 1
    found(statements)
    kinds = (
        ast.CreateSeqStmt, ast.CreateTrigStmt, ast.CreateFunctionStmt, ast.CreateEnumStmt, ast.ListenStmt, ast.NotifyStmt,
        ast.LockStmt, ast.VariableSetStmt, ast.DoStmt, ast.PrepareStmt,
    )  # fmt: skip
    statement = statements[0].stmt
    if isinstance(statement, kinds):
        found.wrong.append(type(statement).__name__)
    if isinstance(statement, ast.CreateStmt) and statement.relation.relpersistence != "p":
        found.wrong.append("a temporary or unlogged table")
    return found.wrong


def _whole(name: str) -> str:
    text = _SPEECH.text(name)
    for hole, filling in {"where": "1 = 1", "order": "1", "table": "runs", "columns": "run_id"}.items():
        text = text.replace(f"{{{hole}}}", filling)
    return text


@pytest.mark.parametrize("name", sorted(name for name in _TEXTS if "{rows}" not in _TEXTS[name]))
def test_a_statement_uses_nothing_that_may_be_missing(name: str):
    assert _wrong(_whole(name)) == []


@pytest.mark.parametrize("name", sorted(name for name in _PLAIN._raw if _PLAIN._raw[name] != _TEXTS.get(name)))
def test_a_plain_statement_uses_less(name: str):
    text = _PLAIN.text(name)
    assert _wrong(text) == []
    assert not re.search("RECURSIVE|LATERAL|SKIP LOCKED", text)


@pytest.mark.parametrize("step", _STEPS, ids=lambda step: " ".join(step.split()[:7]))
def test_a_migration_uses_nothing_that_may_be_missing_and_may_be_run_again(step: str):
    assert _wrong(step) == []
    assert "IF NOT EXISTS" in step


@pytest.mark.parametrize(
    "text",
    [
        "SELECT nextval('s')", "SELECT pg_advisory_xact_lock(1)", "SELECT xmin FROM runs",
        "SELECT 1 FROM runs WHERE owner NOT IN (SELECT node_id FROM nodes)", "CREATE TEMP TABLE t (a text)",
        "CREATE TABLE t (a text[])", "CREATE TABLE t (a jsonb NOT NULL)", "CREATE TABLE t (a bigserial)",
        "CREATE TABLE t (a bigint GENERATED ALWAYS AS IDENTITY)", "CREATE TABLE t (a text REFERENCES runs)", "LISTEN x",
        "CREATE SEQUENCE s", "LOCK TABLE runs",
    ],
)  # fmt: skip
def test_the_rules_know_what_they_forbid(text: str):
    assert _wrong(text) != []


def test_every_statement_has_its_form_for_postgresql():
    only_sqlite = {path.stem for path in (_FOLDER / "sql" / "sqlite").glob("*.sql")} - set(_TEXTS)
    # Row by row, for payloads that cannot be read; and what PostgreSQL asks in one statement, `ends`.
    assert only_sqlite == {"history", "one_event", "last_state", "unread_mail_of"}
    assert [name for name in _TEXTS if "{rows}" in _TEXTS[name]] == []


def test_keys_of_what_belongs_to_a_run_start_with_it():
    for step in _STEPS:
        statement = pglast.parse_sql(step)[0].stmt
        if isinstance(statement, ast.CreateStmt) and "run_id" in step and statement.relation.relname != "idempotency":
            assert re.search(r"run_id TEXT[^,]* PRIMARY KEY|PRIMARY KEY \(run_id[,)]", step), step
        if isinstance(statement, ast.IndexStmt) and statement.unique:
            assert statement.indexParams[0].name == "run_id", step


def test_both_databases_have_the_same_tables_and_columns():
    def columns(dialect: str) -> dict[str, list[str]]:
        text = "".join(path.read_text(encoding="utf-8") for path in sorted((_FOLDER / "migrations" / dialect).glob("*.sql")))
        tables = re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)\n\)", text, flags=re.DOTALL)
        return {name: re.findall(r"^    ([a-z_]+) ", body, flags=re.MULTILINE) for name, body in tables}

    assert columns("postgres") == columns("sqlite")


def test_both_databases_have_the_same_indexes():
    def indexes(dialect: str) -> set[tuple[str, str]]:
        text = "".join(path.read_text(encoding="utf-8") for path in sorted((_FOLDER / "migrations" / dialect).glob("*.sql")))
        return set(re.findall(r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+ ON \w+) (\([^)]*\))", text))

    assert indexes("postgres") == indexes("sqlite") != set()


# -- plans


@pytest.fixture(scope="module")
def filled(postgres_dsn: str) -> Iterator[str]:
    """A database with many runs of all kinds."""

    async def fill(url: str) -> None:
        store = PostgresStore(url, clock=SetClock(), settings=Settings())
        await store.open()
        await store.close()
        connection = await asyncpg.connect(url)
        await connection.execute(
            f"""
            INSERT INTO runs SELECT
                'run-' || n, 'orders', '1', n % 6, CASE WHEN n % 12 = 1 THEN 'node' END, 1, 1, 0, 0, 0, n % 3, n, 0, 0, 2,
                (n % 100 = 1)::int, 0, CASE WHEN n % 6 < 2 THEN n END, CASE WHEN n % 6 < 3 THEN n END, 5, NULL, 100, '[]',
                CASE WHEN n % 9 = 0 THEN 'run-1' END, NULL, n, n, CASE WHEN n % 6 > 2 THEN n END, n, 'hash'
            FROM generate_series(1, {_RUNS}) AS n;
            INSERT INTO events SELECT run_id, 1, 'run_created', '', '', '{{}}', 1 FROM runs;
            INSERT INTO events SELECT run_id, 2, 'seen', 'event:x', '', '{{}}', 1 FROM runs;
            INSERT INTO messages SELECT run_id, 1, 'signal', 'go', 'm', '{{}}', 1 FROM runs;
            INSERT INTO idempotency SELECT workflow, run_id, run_id, '' FROM runs;
            INSERT INTO waiters SELECT run_id, 'run-7' FROM runs WHERE created_at % 50 = 0;
            INSERT INTO hooks SELECT run_id, 'h', 1, 'n', 'a', '{{}}', NULL, 1 FROM runs WHERE created_at % 50 = 0;
            INSERT INTO run_tags SELECT run_id, 'tag-' || created_at % 500, created_at FROM runs;
            INSERT INTO run_tags SELECT run_id, 'common', created_at FROM runs;
            INSERT INTO nodes VALUES ('node', 1, 0, '', NULL, '', '{{}}');
            ANALYZE
            """
        )
        await connection.close()

    with postgres.schema(postgres_dsn) as url:
        asyncio.run(fill(url))
        yield url


_KNOWN = to_json([("orders", "1"), ("other", "")])
_IDS = to_json([f"run-{n}" for n in range(50)])
_PAIRS = to_json([(f"run-{n}", "signal", "m") for n in range(50)])
_STRETCHES = to_json([(f"run-{n}", 0, 9) for n in range(50)])

_ASKED: dict[str, tuple[Any, ...]] = {
    "begin_batch": ("b", 1, "node", 0), "keep_alive": (1, "node"), "batch_state": ("node",), "owned": ("nobody",),
    "last_step": ("run-1",), "poll": (_KNOWN, 5, 5, "nobody"), "dead_owners": (), "dead_nodes_without_runs": (),
    "orphans_of_known": (to_json(["a"]), _KNOWN, 10), "orphans": (to_json(["a"]), 10), "late": (5, 10), "late_owned": (5, 10),
    "due_woken": (5, 10, _KNOWN), "due_new": (_KNOWN, 5, 10), "passed_over": (_KNOWN, 5, 3), "drafts": (_IDS, _IDS),
    "find_rows": (_IDS,),
    "find_known_runs": (_IDS,), "statuses": (_IDS,), "find_keys": (to_json([("orders", "k")]),), "find_messages": (_PAIRS,),
    "find_outside_events": (to_json([("run-1", "event:x")]),), "mail_ids": (_STRETCHES,), "unread_mail": (_IDS,),
    "histories": (_STRETCHES,), "ends": (_STRETCHES,), "find_waiters": (_IDS,), "find_final_payloads": (_IDS,),
    "find_awaited_children": (_IDS,), "delete_waiters": (_IDS,), "find_hooks": (to_json([("run-50", "h")]),),
    "hooks_of": ("run-50",), "prunable": (5, 9_999_999, 0, "", 10), "expired": ("orders", "other", 9_999_999, 0, "", 10),
    "wear_down": (1, 1, "run-1"), "tombstones": (10,),
    "mail_of": ("run-1", 0, 10),
    "delete_events": (_STRETCHES,), "delete_messages": (_STRETCHES,), "delete_hooks": (_STRETCHES,), "delete_keys": (_PAIRS,),
    "delete_runs": (_IDS,),
    "advance_runs": (to_json([["run-1", 3, None]]), 5),
    "move_runs": (to_json([["run-1"]]), 5),
    "write_recalled": (to_json([["run-1", 3, None, 1, 2, 0, 0]]), 5),
    "count_claimable": (10, 5), "count_tagged": ("common", 1_000), "count_of_status": (5, 1_000),
    "retag": ('["a"]', "run-1"), "delete_tags": (_IDS,),
}  # fmt: skip


_OF_PLAIN = {"touch_runs": (_IDS, _IDS), "dead_owners": (), "dead_nodes_without_runs": (), "poll": _ASKED["poll"],
             "due_new": _ASKED["due_new"], "due_woken": _ASKED["due_woken"], "ends": _ASKED["ends"],
             "count_claimable": _ASKED["count_claimable"]}  # fmt: skip


@pytest.mark.parametrize(
    ("speech", "name"), [(_SPEECH, name) for name in sorted(_ASKED)] + [(_PLAIN, name) for name in sorted(_OF_PLAIN)]
)
async def test_no_question_scans_a_table_that_grows(filled: str, speech: Speech, name: str):
    connection = await asyncpg.connect(filled)
    asked = _ASKED | _OF_PLAIN
    try:
        async with connection.transaction():
            await connection.execute(PLANNING)
            text = speech.text(name)
            # As it is kept: planned once, for whatever values will come.
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE asked AS {text}" if asked[name] else "SELECT 1")
            if asked[name]:
                values = ", ".join("'" + str(value).replace("'", "''") + "'" for value in asked[name])
                plan = await connection.fetch(f"EXPLAIN EXECUTE asked ({values})")
                await connection.execute("DEALLOCATE asked")
            else:
                plan = await connection.fetch(f"EXPLAIN {text}")
    finally:
        await connection.close()
    lines = [row[0] for row in plan]
    scans = [
        line for line in lines if re.search(r"Seq Scan on (runs|run_tags|events|messages|idempotency|waiters|hooks)\b", line)
    ]
    assert scans == [], "\n".join(lines)


_MOVED_ROW = (1, None, 3, 1, 0, 0, 0, 0, 0, 3, 0, 0, 9, None, None, 1, None)
_MOVED = to_json([(f"run-{n}", *_MOVED_ROW) for n in range(1_000)])
_RECALLED = to_json([(f"run-{n}", 3, None, 1, 2, 0, 0, f"run-{n}", *_MOVED_ROW) for n in range(1_000)])
_NEW_EVENTS = to_json([(f"run-{n}", 3, "step_completed", "s", "s", "{}", 1) for n in range(1_000)])


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(
    ("text", "values"),
    [
        (_SPEECH.text("move_runs"), (_MOVED, 5)), (_SPEECH.text("advance_runs"), (_MOVED, 5)),
        (_SPEECH.writes(("move_runs", "insert_events")), (_MOVED, 5, _NEW_EVENTS)),
        (_SPEECH.counted(("write_recalled", "move_runs", "insert_events")), (_RECALLED, 5, _MOVED, 5, _NEW_EVENTS)),
        (_SPEECH.identified(("write_recalled", "insert_events")), ("b", 1, "node", 0, _RECALLED, 5, _NEW_EVENTS)),
    ],
    ids=["moved", "advanced", "moved with events", "recalled with others", "recalled with the identity"],
)  # fmt: skip
async def test_a_thousand_runs_are_written_by_their_key(filled: str, text: str, values: tuple[Any, ...], plans: str):
    connection = await asyncpg.connect(filled)
    try:
        async with connection.transaction():
            await connection.execute(PLANNING)
            await connection.execute(f"SET LOCAL plan_cache_mode = {plans}")
            await connection.execute(f"PREPARE written AS {text}")
            given = ", ".join("'" + str(value).replace("'", "''") + "'" for value in values)
            plan = await connection.fetch(f"EXPLAIN EXECUTE written ({given})")
            await connection.execute("DEALLOCATE written")
    finally:
        await connection.close()
    lines = [row[0] for row in plan]
    reads = [line for line in lines if re.search(r"Scan\b.* on (runs|events)\b", line)]
    assert reads != []
    assert [line for line in reads if "Index Scan using runs_pkey on runs" not in line] == [], "\n".join(lines)


@pytest.mark.parametrize(
    "name", ["due_woken", "due_new", "passed_over", "poll", "dead_owners", "late", "count_claimable", "expired"]
)
async def test_what_is_asked_again_and_again_costs_the_same_however_many_runs_there_are(filled: str, name: str):
    connection = await asyncpg.connect(filled)
    try:
        read = await _blocks(connection, _SPEECH.text(name), *_ASKED[name])
    finally:
        await connection.close()
    assert 0 < read < _RUNS / 200


@pytest.mark.parametrize(
    "where", ["1 = 1", "workflow = 'orders'", "status = 5", "parent_run_id = 'run-1'", "(created_at, run_id) < (500, 'run-500')"]
)
async def test_lists_read_an_index_from_its_end_and_sort_nothing(filled: str, where: str):
    connection = await asyncpg.connect(filled)
    try:
        plan = await connection.fetch(f"EXPLAIN {_SPEECH.text('list_runs').replace('{where}', where)} LIMIT 20")
    finally:
        await connection.close()
    lines = [row[0] for row in plan]
    assert any("Index Scan Backward" in line for line in lines), lines
    assert not any(re.search(r"^\s*(->)?\s*Sort\b", line) for line in lines), lines


@pytest.mark.parametrize(("found", "query"), BY_TAGS)
async def test_a_list_by_tags_reads_no_more_than_has_the_rarest_of_them(filled: str, found: int, query: RunQuery):
    connection = await asyncpg.connect(filled)
    read = 0
    try:
        counted: list[int] = []
        for count in to_count(query):
            counted.append(await connection.fetchval(_SPEECH.text(count.name), *count.parameters))
            read += await _blocks(connection, _SPEECH.text(count.name), *count.parameters)
        name, where, parameters = listing(query, counted)
        for place in range(len(parameters)):
            where = where.replace("?", f"${place + 1}", 1)
        text = f"{_SPEECH.text(name)} LIMIT {query.limit}".replace("{where}", where)
        assert len(await connection.fetch(text, *parameters)) == found
        read += await _blocks(connection, text, *parameters)
    finally:
        await connection.close()
    assert read < _RUNS / 25


async def _blocks(connection: asyncpg.Connection, text: str, *parameters: Any) -> int:
    plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", *parameters)
    return sum(int(number) for number in re.findall(r'"Shared (?:Hit|Read) Blocks": (\d+)', plan)[:2])
