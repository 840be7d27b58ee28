"""``stepwell trigger``: start a run that workers elsewhere execute."""

from stepwell.cli.exits import Exit
from stepwell.cli.follow import follow, print_outcome
from stepwell.cli.interrupts import Interrupted, Interrupts
from stepwell.cli.options import DEFAULT, Common, Flag, Json, Tags, read_json, suggested
from stepwell.cli.output import print_json, print_value, say, wire


async def trigger(
    name: str, /, *, input: Json = None, wait: Flag = False, id: str | None = None, key: str | None = None, tag: Tags = (),
    priority: int = 0, delay: str | None = None, version: str | None = None, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Start a run, and print its id. Workers execute it.

    Parameters
    ----------
    name
        The workflow's name.
    input
        The input: JSON, @file, or - for standard input.
    wait
        Follow the run until it is over, and print its output.
    id
        The run's id. Twice with the same input is one run.
    key
        Idempotency key: twice with the same input is one run.
    tag
        A tag for the run; may be given several times.
    priority
        Higher goes first.
    delay
        Start no sooner than after this: 250ms, 10m, 1h30m, 7d.
    version
        The workflow's version; without it the run is of the workflow that has none.
    """
    value = read_json(input, "--input")
    async with Interrupts() as interrupts, common.client() as client:
        started = await client.workflow.trigger(
            name, value, run_id=id, idempotency_key=key, tags=list(tag) or None, priority=priority, delay=delay, version=version
        )
        if not wait:
            if common.json:
                print_json(wire(started))
            else:
                print_value(started.run_id)
            return Exit.OK
        try:
            return print_outcome(await interrupts.until_asked(follow(client, started.run_id)), common)
        except Interrupted:
            say(f"\nDetached. Run {started.run_id} is not cancelled.")
            say(f"  watch:  {suggested(f'runs tail {started.run_id}', common.store)}")
            return Exit.INTERRUPTED
