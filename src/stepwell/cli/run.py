"""``stepwell run``: a workflow from start to end in this process."""

from contextlib import suppress
from typing import Any

from stepwell import AsyncClient, Run, WorkflowWorker
from stepwell.cli.exits import Exit
from stepwell.cli.follow import follow, print_outcome
from stepwell.cli.interrupts import Interrupted, Interrupts
from stepwell.cli.modules import find_workflow
from stepwell.cli.options import DEFAULT, Common, Json, Tags, read_json, suggested
from stepwell.cli.output import print_json, say, wire


async def run(
    target: str, /, *, input: Json = None, id: str | None = None, key: str | None = None, tag: Tags = (), common: Common = DEFAULT
) -> Exit:
    """Run a workflow here: trigger it, execute it, show its progress, print its output.

    Ctrl-C detaches: the run stays in the store, and goes on when a worker runs.

    Parameters
    ----------
    target
        MODULE:workflow, as in app.py:greet or shop.orders:process-order.
    input
        The input: JSON, @file, or - for standard input.
    id
        The run's id. With the id and input of a run that is there already, that one goes on.
    key
        Idempotency key.
    tag
        A tag for the run; may be given several times.
    """
    workflow = find_workflow(target)
    value = read_json(input, "--input")
    async with Interrupts() as interrupts, common.client() as client:
        worker = WorkflowWorker(client)
        await worker.start_all()
        try:
            started = await client.workflow.trigger(workflow, value, run_id=id, idempotency_key=key, tags=list(tag) or None)
            try:
                return print_outcome(await interrupts.until_asked(follow(client, started.run_id)), common)
            except Interrupted:
                await _detach(client, started, target, common)
                return Exit.INTERRUPTED
        finally:
            await _stop(worker, interrupts)


async def _detach(client: AsyncClient, started: Run[Any], target: str, common: Common) -> None:
    """Say that the run goes on, and how to see it. ``--json`` prints it as it is now."""
    module = target.rpartition(":")[0] or target
    say(f"\nDetached. Run {started.run_id} is not cancelled: it stays in the store, and goes on when a worker runs.")
    say(f"  go on:  {suggested(f'worker {module}', common.store)}")
    say(f"  watch:  {suggested(f'runs tail {started.run_id}', common.store)}")
    say(f"  cancel: {suggested(f'runs cancel {started.run_id}', common.store)}")
    if common.json:
        print_json(wire(await client.workflow.get_run(started.run_id)))


async def _stop(worker: WorkflowWorker, interrupts: Interrupts) -> None:
    """Let steps under way finish, unless the user insists: then others take over what this process leaves."""
    with suppress(Interrupted):
        await interrupts.unless_insisted(worker.stop(drain=True))
