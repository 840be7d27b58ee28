"""``stepwell hook``: answer what a run has asked."""

from stepwell.cli.exits import Exit
from stepwell.cli.options import DEFAULT, Common, Json, read_json
from stepwell.cli.output import print_json, print_value, wire


async def hook(token: str, /, *, payload: Json = None, common: Common = DEFAULT) -> Exit:
    """Answer a hook. The first answer stands.

    Parameters
    ----------
    token
        The hook's token.
    payload
        The answer: JSON, @file, or - for standard input.
    """
    value = read_json(payload, "--payload")
    async with common.client_of_existing() as client:
        done = await client.workflow.execute_hook(token, value)
    if common.json:
        print_json(wire(done))
    else:
        print_value(f"hook {done.name} of run {done.run_id} is answered")
    return Exit.OK
