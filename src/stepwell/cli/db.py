"""``stepwell db``: the store itself."""

from cyclopts import App

from stepwell.cli.exits import Exit
from stepwell.cli.options import DEFAULT, Common
from stepwell.cli.output import print_json, print_value

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
