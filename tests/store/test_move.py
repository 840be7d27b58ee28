"""Everything from a SQLite file to PostgreSQL."""

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import apsw
import pytest

from stepwell import AsyncClient, WorkflowWorker, failpoints, step, workflow
from stepwell.clock import Clock
from stepwell.errors import ConflictError, CorruptStoreError, StepwellError, UnavailableError
from stepwell.settings import Settings
from stepwell.store.access import AuditRow, KeyRow
from stepwell.store.migrate import MIGRATIONS
from stepwell.store.move import Moved, move
from stepwell.store.postgres_migrate import MIGRATIONS as MIGRATIONS_THERE
from tests import postgres
from tests.clients import may_block_the_loop  # noqa: F401
from tests.proxy import Proxy

bodies: list[object] = []


@workflow("moving")
async def moving(ctx, name):
    async def note() -> object:
        bodies.append(name)
        return name

    noted = await step("note", note)()
    approval = await ctx.wait_for_signal("go")
    return [noted, approval]


async def moved(file: Path, url: str) -> Moved:
    return await asyncio.to_thread(move, file, url, clock=Clock(), settings=Settings())


async def filled(file: Path) -> None:
    """Runs that wait, that are new, and that have a signal before they ask for it."""
    async with AsyncClient(f"sqlite:///{file}", settings=Settings(keep_ms=0, waiting_shown_ms=1)) as client:
        async with WorkflowWorker(client) as worker:
            await worker.start(moving)
            await client.workflow.trigger("moving", ["waits"], run_id="waits", tags=["ü"], idempotency_key="k")
            while (await client.workflow.get_run("waits")).waiting_for is None:
                await asyncio.sleep(0)
        await client.workflow.trigger("moving", ["new"], run_id="new")
        await client.workflow.send_signal("new", "go", {"by": "Ada"})


async def test_live_runs_go_on_where_they_were(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEPWELL_HOOK_KEY", "shared")
    bodies.clear()
    file = tmp_path / "app.db"
    await filled(file)
    told = await moved(file, postgres_url)
    assert told.rows["runs"] == 2
    assert told.rows["messages"] == 1
    assert told.rows["idempotency"] == 1
    async with AsyncClient(postgres_url) as client:
        assert await client.check_store() == []
        again = await client.workflow.trigger("moving", ["waits"], idempotency_key="k")
        assert again.run_id == "waits"
        await client.workflow.send_signal("waits", "go", 1)
        async with WorkflowWorker(client) as worker:
            await worker.start(moving)
            for run_id in ("waits", "new"):
                run = await client.workflow.wait(run_id, timeout=60)
                assert run.status == "completed", run.error
        assert (await client.workflow.get_run("waits")).tags == ["ü"]
        assert [run.run_id async for run in client.workflow.iter_runs(tags=["ü"])] == ["waits"]
        assert await client.check_store() == []
    # promise 2: what was recorded in the file does not run again.
    assert sorted(bodies) == [["new"], ["waits"]]


@workflow("waiting")
async def waiting(ctx, how):
    async def note() -> object:
        bodies.append(how)
        return how

    await step("before", note)()
    if how == "sleep":
        await ctx.sleep("1s")
    elif how == "hook":
        hook = await ctx.create_hook("ask", "approve", {"amount": 5})
        return await ctx.wait_for_hook(hook.token)
    elif how == "child":
        return await ctx.run_child("moving", "child", run_id="child-of-it")
    return how


async def entries(client: AsyncClient) -> list[tuple[str, str]]:
    return [(entry.action, entry.result) for entry in await client._engine.audit("", 100)]  # type: ignore[attr-defined]


def rows_in(url: str, table: str) -> object:
    return postgres.sql(url, f"SELECT count(*) FROM {table}")[0][0]


def held(name: str) -> tuple[threading.Event, threading.Event]:
    """Let a move stop at a failpoint: it says that it is there, and is let go on."""
    there, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        there.set()
        go_on.wait()

    failpoints.armed[name] = wait
    return there, go_on


async def reached(there: threading.Event, moving_on: "asyncio.Task[Moved]") -> None:
    while not there.is_set():
        assert not moving_on.done(), moving_on.result()
        await asyncio.sleep(0.01)


async def test_sleeps_hooks_and_children_go_on_where_they_were(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STEPWELL_HOOK_KEY", "shared")
    bodies.clear()
    file = tmp_path / "app.db"
    async with AsyncClient(f"sqlite:///{file}", settings=Settings(keep_ms=0, waiting_shown_ms=1)) as client:
        async with WorkflowWorker(client) as worker:
            await worker.start(waiting, moving)
            for how in ("sleep", "hook", "child"):
                await client.workflow.trigger("waiting", how, run_id=how)
                while (await client.workflow.get_run(how)).waiting_for is None:
                    await asyncio.sleep(0)
        (hook,) = await client.workflow.get_hooks("hook")
    await moved(file, postgres_url)
    async with AsyncClient(postgres_url) as client:
        assert await client.check_store() == []
        await client.workflow.execute_hook(hook.token, {"by": "Ada"})
        await client.workflow.send_signal("child-of-it", "go", 1)
        async with WorkflowWorker(client) as worker:
            await worker.start(waiting, moving)
            ended = [await client.workflow.wait(how, timeout=60) for how in ("sleep", "hook", "child")]
        assert [run.status for run in ended] == ["completed"] * 3, [run.error for run in ended]
        assert await client.check_store() == []
    # promise 2
    assert sorted(map(str, bodies)) == sorted(["sleep", "hook", "child", "child"])


async def test_collections_keys_and_the_audit_log_go_along(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    async with AsyncClient(f"sqlite:///{file}") as client:
        await client.collections.update("people", indexes=[{"fields": ["age"]}, {"fields": ["mail"], "unique": True}])
        people = client.collection("people")
        for number in range(50):
            await people.create({"id": f"p{number}", "age": number, "mail": f"ü{number}@example.com"})
        await people.delete("p0")
        await client._engine.keep_key(KeyRow("k1", "shop", "hash", '["read"]', "[]", 5))  # type: ignore[attr-defined]
        await client._engine.note([AuditRow("0190", 1, "cli", "createKey", "k1", "", "done")], 0)  # type: ignore[attr-defined]
    told = await moved(file, postgres_url)
    assert (told.rows["records"], told.rows["record_keys"], told.rows["api_keys"]) == (49, 98, 1)
    async with AsyncClient(postgres_url) as client:
        people = client.collection("people")
        page = await people.get_list(filter="age > 45", sort="age")
        assert [record["id"] for record in page.items] == ["p46", "p47", "p48", "p49"]
        with pytest.raises(ConflictError, match="mail"):
            await people.create({"id": "new", "mail": "ü7@example.com"})
        assert [key.key_id for key in await client._engine.keys()] == ["k1"]  # type: ignore[attr-defined]
        assert await entries(client) == [("createKey", "done"), ("moveStore", "started"), ("moveStore", "done")]
        assert await client.check_store() == []
    async with AsyncClient(f"sqlite:///{file}") as client:
        assert await entries(client) == [("createKey", "done"), ("moveStore", "started"), ("moveStore", "done")]


async def test_more_than_fits_into_one_statement_is_moved(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    async with AsyncClient(f"sqlite:///{file}") as client:
        for number in range(300):
            await client.workflow.trigger("moving", "x" * 1_000_000, run_id=f"run-{number}")
    told = await moved(file, postgres_url)
    assert told.rows["runs"] == 300


async def test_a_tool_may_have_its_own_tables_in_the_file(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    await filled(file)
    connection = apsw.Connection(str(file))
    connection.execute("CREATE TABLE _replica_seq (id INTEGER PRIMARY KEY, seq INTEGER); INSERT INTO _replica_seq VALUES (1, 1)")
    connection.close()
    assert (await moved(file, postgres_url)).rows["runs"] == 2


async def test_a_target_that_holds_anything_is_refused(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    await filled(file)
    await moved(file, postgres_url)
    with pytest.raises(ConflictError, match="not empty"):
        await moved(file, postgres_url)


async def test_an_older_target_that_holds_anything_is_refused_before_it_is_changed(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    async with AsyncClient(postgres_url) as client:
        await client.workflow.trigger("moving", "mine", run_id="mine")
    file = tmp_path / "app.db"
    await filled(file)
    number = MIGRATIONS_THERE[-1][0] + 1
    more = (number, f"{number:04}_more", ["CREATE TABLE IF NOT EXISTS more (x bigint)"])
    monkeypatch.setattr("stepwell.store.postgres_migrate.MIGRATIONS", [*MIGRATIONS_THERE, more])
    with pytest.raises(ConflictError, match="not empty"):
        await moved(file, postgres_url)
    assert postgres.sql(postgres_url, "SELECT max(number) FROM migrations") == [(MIGRATIONS_THERE[-1][0],)]
    assert postgres.sql(postgres_url, "SELECT to_regclass('more')") == [(None,)]


async def test_an_older_target_that_is_empty_is_brought_up_to_date(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    async with AsyncClient(postgres_url):
        pass
    file = tmp_path / "app.db"
    await filled(file)
    number = MIGRATIONS_THERE[-1][0] + 1
    more = (number, f"{number:04}_more", ["CREATE TABLE IF NOT EXISTS more (x bigint)"])
    monkeypatch.setattr("stepwell.store.postgres_migrate.MIGRATIONS", [*MIGRATIONS_THERE, more])
    assert (await moved(file, postgres_url)).rows["runs"] == 2
    async with AsyncClient(f"sqlite:///{file}") as client:
        of_file = await entries(client)
    noted = postgres.sql(postgres_url, "SELECT action, result FROM audit ORDER BY audit_id")
    assert sorted(noted) == sorted([*of_file, ("migrateStore", "done")])


async def test_a_target_that_a_node_has_open_is_refused(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    await filled(file)
    async with AsyncClient(postgres_url):
        with pytest.raises(ConflictError, match=r"target is in use by process \d+"):
            await moved(file, postgres_url)


@pytest.mark.usefixtures("may_block_the_loop")  # the loop that is held up is the move's own
async def test_of_two_moves_to_one_target_one_is_refused(tmp_path: Path, postgres_url: str):
    for name in ("one", "two"):
        async with AsyncClient(f"sqlite:///{tmp_path / name}.db") as client:
            await client.workflow.trigger("moving", [name], run_id=name)
    there, go_on = held("move.before_commit")
    first = asyncio.create_task(moved(tmp_path / "one.db", postgres_url))
    await reached(there, first)
    failpoints.armed.clear()
    second = asyncio.create_task(moved(tmp_path / "two.db", postgres_url))
    while not postgres.sql(postgres_url, "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"):
        assert not second.done(), second.result()
        await asyncio.sleep(0.01)
    go_on.set()
    await first
    with pytest.raises(ConflictError, match="not empty"):
        await second
    assert postgres.sql(postgres_url, "SELECT run_id FROM runs") == [("one",)]


@pytest.mark.usefixtures("may_block_the_loop")  # the loop that is held up is the move's own
async def test_nobody_writes_to_the_file_while_it_is_moved(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    await filled(file)
    there, go_on = held("move.before_commit")
    moving_on = asyncio.create_task(moved(file, postgres_url))
    await reached(there, moving_on)
    try:
        with pytest.raises(UnavailableError, match="another process has been writing"):
            async with AsyncClient(f"sqlite:///{file}", settings=Settings(patience_ms=100)) as client:
                await client.workflow.trigger("moving")
        with pytest.raises(ConflictError, match="in use"):
            await moved(file, postgres_url)
    finally:
        go_on.set()
    assert (await moving_on).rows["runs"] == 2


@pytest.mark.parametrize("where", ["move.copied", "move.before_commit"])
async def test_a_move_that_fails_midway_has_moved_nothing_and_can_be_done_again(tmp_path: Path, postgres_url: str, where: str):
    file = tmp_path / "app.db"
    await filled(file)

    def fail() -> None:
        raise OSError("made up")

    failpoints.armed[where] = fail
    with pytest.raises(UnavailableError):
        await moved(file, postgres_url)
    failpoints.armed.clear()
    assert rows_in(postgres_url, "runs") == rows_in(postgres_url, "audit") == 0
    async with AsyncClient(f"sqlite:///{file}") as client:
        (_, (action, result)) = await entries(client)
        assert (action, result.partition(":")[0]) == ("moveStore", "failed")
    assert (await moved(file, postgres_url)).rows["runs"] == 2


async def test_a_connection_that_is_lost_in_the_commit_says_so_and_the_next_move_tells(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    await filled(file)
    parts = urlsplit(postgres_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy:
        proxy.cut_answer(b"COMMIT\0")
        with pytest.raises(UnavailableError, match="not known whether"):
            await moved(file, postgres_url.replace(f":{parts.port}/", f":{proxy.port}/"))
    with pytest.raises(ConflictError, match="not empty"):
        await moved(file, postgres_url)
    assert rows_in(postgres_url, "runs") == 2


async def test_what_does_not_read_back_as_it_was_written_is_told_and_not_moved(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    await filled(file)
    async with AsyncClient(postgres_url):
        pass
    schema = postgres_url.rpartition("=")[2]
    postgres.sql(
        postgres_url,
        f"CREATE FUNCTION {schema}.spoil() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.type = 'step_completed' THEN NEW.payload := '{}'; END IF; RETURN NEW; END $$",
    )
    postgres.sql(postgres_url, "CREATE TRIGGER spoil BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION spoil()")
    with pytest.raises(UnavailableError, match="table events of the target does not read back"):
        await moved(file, postgres_url)
    assert rows_in(postgres_url, "events") == rows_in(postgres_url, "runs") == 0


async def test_a_role_without_rights_is_told_what_it_lacks(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    await filled(file)
    schema = postgres_url.rpartition("=")[2]
    role = f"weak_{schema}"
    postgres.sql(postgres_url, f"CREATE ROLE {role} LOGIN")
    try:
        postgres.sql(postgres_url, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        with pytest.raises(UnavailableError, match=r"may not make the tables.*GRANT USAGE, CREATE"):
            await moved(file, postgres_url.replace("postgres@", f"{role}@"))
        async with AsyncClient(postgres_url):
            pass
        postgres.sql(postgres_url, f"GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO {role}")
        with pytest.raises(UnavailableError, match="permission denied for table"):
            await moved(file, postgres_url.replace("postgres@", f"{role}@"))
    finally:
        postgres.sql(postgres_url, f"DROP OWNED BY {role}")
        postgres.sql(postgres_url, f"DROP ROLE {role}")


async def test_a_copy_of_a_store_whose_process_died_can_be_moved(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    async with AsyncClient(f"sqlite:///{file}") as client:
        await client.workflow.trigger("moving", ["x"])
        with pytest.raises(ConflictError, match=r"in use by process \d+ on .+: stop"):
            await moved(file, postgres_url)
        for part in tmp_path.glob("app.db*"):
            if part.is_file():
                shutil.copy(part, tmp_path / part.name.replace("app", "copy"))
    assert (await moved(tmp_path / "copy.db", postgres_url)).rows["runs"] == 1


async def test_a_file_that_is_in_use_is_refused_and_nothing_is_written(tmp_path: Path, postgres_url: str):
    file = tmp_path / "app.db"
    async with AsyncClient(f"sqlite:///{file}") as client:
        await client.workflow.trigger("moving", ["x"])
        with pytest.raises((ConflictError, UnavailableError)):
            await moved(file, postgres_url)
    assert postgres.sql(postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()") == [(0,)]


def a_folder(path: Path) -> None:
    path.mkdir()


def a_text(path: Path) -> None:
    path.write_text("no database\n" * 200)


def nothing(path: Path) -> None:
    path.touch()


def of_another_program(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE x (a)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (None, UnavailableError, "there is no store"),
        (a_folder, UnavailableError, "is no file"),
        (a_text, CorruptStoreError, "not a SQLite database"),
        (nothing, ConflictError, "nothing to move"),
        (of_another_program, CorruptStoreError, "not one of stepwell"),
    ],
)
async def test_a_file_that_is_no_store_is_told(
    tmp_path: Path, postgres_url: str, make: Any, kind: type[StepwellError], said: str
):
    file = tmp_path / "app.db"
    if make is not None:
        make(file)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(kind, match=said):
        await moved(file, postgres_url)
    assert [name for name in sorted(path.name for path in tmp_path.iterdir()) if not name.endswith(".writer")] == before
    assert postgres.sql(postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()") == [(0,)]


@pytest.mark.parametrize(("step", "said"), [(-1, "older stepwell.*stepwell db migrate"), (1, "newer stepwell.*upgrade")])
async def test_a_file_of_another_schema_is_told(tmp_path: Path, postgres_url: str, step: int, said: str, monkeypatch: Any):
    file = tmp_path / "app.db"
    await filled(file)
    number = MIGRATIONS[-1][0]
    if step < 0:
        monkeypatch.setattr("stepwell.store.move.MIGRATIONS", [*MIGRATIONS, (number + 1, "more", "")])
    else:
        connection = apsw.Connection(str(file))
        connection.pragma("user_version", number + 1)
        connection.close()
    with pytest.raises((ConflictError, CorruptStoreError), match=said):
        await moved(file, postgres_url)
