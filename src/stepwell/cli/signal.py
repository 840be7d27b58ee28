"""``stepwell signal``: send a named message to a run."""

from stepwell.cli.exits import Exit
from stepwell.cli.options import DEFAULT, Common, Json, read_json
from stepwell.cli.output import print_json, print_value


async def signal(run: str, name: str, /, *, payload: Json = None, id: str | None = None, common: Common = DEFAULT) -> Exit:
    """Send a signal to a run. One that does not wait for it yet receives it when it asks.

    Parameters
    ----------
    run
        The run's id.
    name
        The signal's name.
    payload
        What it carries: JSON, @file, or - for standard input.
    id
        The signal's id: twice the same is one signal.
    """
    value = read_json(payload, "--payload")
    async with common.client_of_existing() as client:
        await client.workflow.send_signal(run, name, value, signal_id=id)
    if common.json:
        print_json({"runId": run, "name": name, "payload": value})
    else:
        print_value(f"signal {name} was sent to {run}")
    return Exit.OK
