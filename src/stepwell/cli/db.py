"""``stepwell db``: the store itself."""

import asyncio
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.export import export
from stepwell.cli.options import DEFAULT, Common, Flag
from stepwell.cli.output import print_json, print_line, print_value, say
from stepwell.cli.prune import prune
from stepwell.cli.stores import audit_of, refuse_other_schema
from stepwell.clock import Clock
from stepwell.connect import connect, find_file, is_server
from stepwell.engine.access_calls import AuditLog, KeyBook
from stepwell.errors import ValidationError
from stepwell.settings import Settings, url_from_environment

_AT_ONCE: Final = 500
_POSTGRES: Final = ("postgresql:", "postgres:")
_MOVES: Final = "it moves from SQLite to PostgreSQL. Between two PostgreSQL use pg_dump and pg_restore; nothing moves back"
db = App(name="db", help="Look after the store.")
for command in (export, prune):
    db.command(command)


@db.command
async def check(*, common: Common = DEFAULT) -> Exit:
    """Verify the store: its file, its schema, and that what it holds makes sense. Changes nothing. Exit code 1 if it does not."""
    await refuse_other_schema(common)
    async with common.client_of_existing() as client:
        problems = await client.check_store()
    if common.json:
        print_json({"ok": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            print_value(problem)
    else:
        print_value("the store is sound")
    return Exit.FAILED if problems else Exit.OK


@db.command
async def audit(*, common: Common = DEFAULT) -> Exit:
    """Print the audit log of the servers of this store, oldest first: a line of JSON for each entry."""
    engine = connect(common.store)
    assert isinstance(engine, AuditLog), "an engine keeps an audit log, or asks one that does"
    await engine.open()
    try:
        after = ""
        while entries := await engine.audit(after, _AT_ONCE):
            for entry in entries:
                print_line(entry)
            after = entries[-1].audit_id
    finally:
        await engine.close()
    return Exit.OK


@db.command
async def migrate(*, distribute: Literal["citus"] | None = None, common: Common = DEFAULT) -> Exit:
    """Make the store, or bring its schema up to this program. Safe while others do the same; what is newer is refused.

    Every program that opens a store does so by itself: this is for those who want it done before.

    Parameters
    ----------
    distribute
        Spread the tables over the machines of a Citus, all rows of a run on one of them. Refused where there is none.
    """
    if is_server(common.store):
        raise UsageError("a server brings its own store up to date when it starts: name the store itself with --store")
    if distribute:
        await asyncio.to_thread(_distribute, common.store or url_from_environment() or "")
    engine = connect(common.store)
    assert isinstance(engine, KeyBook), "what is not behind a server keeps an audit log"
    await engine.open()
    try:
        stats = await engine.stats()
        await audit_of(engine).note("cli", "migrateStore", f"--distribute {distribute}" if distribute else "")
    finally:
        await engine.close()
    if common.json:
        print_json({"ok": True, "runs": sum(stats.runs.values())})
    else:
        print_value("the store is up to date")
    return Exit.OK


def _distribute(url: str) -> None:
    if not url.startswith(_POSTGRES):
        raise UsageError("--distribute citus is for postgresql://")
    # Here, because PostgreSQL is an extra.
    from stepwell.store.citus import distribute

    for table in distribute(url, clock=Clock(), settings=Settings.from_environment()):
        say(f"distributed {table}")


@db.command
def move(*, from_: Annotated[str, Parameter(name="--from")], to: str, json: Flag = False) -> Exit:
    """Move everything from a SQLite file to an empty PostgreSQL: runs of all kinds, histories, messages, hooks, records, keys.

    Stop whatever has the file open before. What was written is read back and compared before it counts: all is moved, or nothing.
    The file stays as it is, but for its audit log.

    Parameters
    ----------
    from_
        The file: sqlite:///file.db.
    to
        The database: postgresql://user@host/database.
    json
        Print JSON, for programs.
    """
    file = _file_of(from_)
    _refuse_target(to)
    # Here, because PostgreSQL is an extra.
    from stepwell.store.move import move as move_all

    moved = move_all(file, to, clock=Clock(), settings=Settings.from_environment(), tell=say)
    if json:
        tables = {table: {"rows": rows, "checksum": moved.checksums[table]} for table, rows in moved.rows.items()}
        print_json({"ok": True, "tables": tables})
    else:
        for table, rows in moved.rows.items():
            print_value(f"{table:14} {rows:>10,} rows  {moved.checksums[table]}")
    say(f"all is moved; {file} stays as it is: put it away, so that nothing opens it by mistake and executes its runs again")
    key = file.with_name(f"{file.name}.hookkey")
    if key.exists():
        say(f"tokens of hooks stay good if all nodes have STEPWELL_HOOK_KEY=file:<a copy of {key}>")
    return Exit.OK


def _file_of(url: str) -> Path:
    try:
        file = find_file(url)
    except ValidationError as error:
        raise UsageError(f"--from: {error}") from None
    if file is None:
        raise UsageError(f"--from must be a file, sqlite:///file.db: {_MOVES}")
    return file


def _refuse_target(url: str) -> None:
    if not url.startswith(_POSTGRES):
        raise UsageError(f"--to must be postgresql://user@host/database: {_MOVES}")
    try:
        connect(url)
    except ValidationError as error:
        raise UsageError(f"--to: {error}") from None
