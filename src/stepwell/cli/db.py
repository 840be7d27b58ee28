"""``stepwell db``: the store itself."""

from cyclopts import App

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common
from stepwell.cli.output import print_json, print_line, print_value
from stepwell.connect import connect
from stepwell.engine.api import KeyBook
from stepwell.engine.present import rfc3339

_AT_ONCE = 1_000
db = App(name="db", help="Look after the store.")


@db.command
async def check(*, common: Common = DEFAULT) -> Exit:
    """Verify the store: its file, its schema, and that what it holds makes sense. Changes nothing. Exit code 1 if it does not."""
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
    if not isinstance(engine, KeyBook):
        raise UsageError("the audit log is read where the store is, not through a server: name the store with --store")
    await engine.open()
    try:
        after = ""
        while entries := await engine.audit(after, _AT_ONCE):
            for entry in entries:
                print_line({
                    "auditId": entry.audit_id, "at": rfc3339(entry.at), "who": entry.who, "action": entry.action,
                    "target": entry.target, "address": entry.address, "result": entry.result,
                })  # fmt: skip
            after = entries[-1].audit_id
    finally:
        await engine.close()
    return Exit.OK


@db.command
async def migrate(*, common: Common = DEFAULT) -> Exit:
    """Make the store, or bring its schema up to this program. Safe while others do the same; what is newer is refused.

    Every program that opens a store does so by itself: this is for those who want it done before.
    """
    async with common.client() as client:
        stats = await client.workflow.stats()
    if common.json:
        print_json({"ok": True, "runs": sum(stats.runs.values())})
    else:
        print_value("the store is up to date")
    return Exit.OK
