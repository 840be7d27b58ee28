"""``stepwell runs fork | set-step-result | hooks``: going on another way, and what a run has asked."""

from typing import Any

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common, Flag, Json, read_json
from stepwell.cli.output import print_json, print_table, print_value, when, wire


async def fork(
    run: str, /, *, from_event: int | None = None, input: Json = None, id: str | None = None, version: str | None = None,
    common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Make a new run that shares the history of a run up to an event, and print its id. The run itself is left alone.

    Parameters
    ----------
    run
        The run's id.
    from_event
        The number of the last event that is shared; otherwise all that can be, but for what made the run fail.
    input
        Another input: JSON, @file, or - for standard input.
    id
        The new run's id.
    version
        The new run's version; otherwise the same.
    """
    options: dict[str, Any] = {} if input is None else {"input": read_json(input, "--input")}
    async with common.client_of_existing() as client:
        made = await client.workflow.fork(run, from_event, run_id=id, version=version, **options)
    if common.json:
        print_json(wire(made))
    else:
        print_value(made.run_id)
    return Exit.OK


async def set_step_result(
    run: str, step: str, /, *, value: Json = None, reason: str | None = None, common: Common = DEFAULT
) -> Exit:  # fmt: skip
    """Record the result of a step of a paused run by hand. Replay takes it for the step's own.

    Parameters
    ----------
    run
        The run's id.
    step
        The step's identity, as `stepwell runs events` shows it.
    value
        The result: JSON, @file, or - for standard input.
    reason
        Why. It is kept in the history.
    """
    if value is None:
        raise UsageError("say the result with --value (null, if there is none)")
    if not reason:
        raise UsageError("say why with --reason: it is kept in the history")
    result = read_json(value, "--value")
    async with common.client_of_existing() as client:
        done = await client.workflow.set_step_result(run, step, result, reason)
    if common.json:
        print_json(wire(done))
    else:
        print_value(f"the result of {step} is set; go on with: stepwell runs resume {run}")
    return Exit.OK


async def hooks(run: str, /, *, tokens: Flag = False, common: Common = DEFAULT) -> Exit:
    """List what a run has asked of the outside, and the answers.

    Parameters
    ----------
    run
        The run's id.
    tokens
        Show the tokens: whoever has one may answer.
    """
    async with common.client_of_existing() as client:
        found = await client.workflow.get_hooks(run)
    if common.json:
        print_json(
            {"items": [{**wire(hook), **({} if tokens else dict.fromkeys(("token", "url", "pageUrl")))} for hook in found]}
        )
        return Exit.OK
    columns = ("NAME", "ACTION", "STATE", "EXPIRES", *(("TOKEN",) if tokens else ()))
    rows = [
        (hook.name, hook.action, hook.state, when(hook.expires), *((hook.token,) if tokens else ()))
        for hook in found
    ]  # fmt: skip
    print_table(columns, rows)
    return Exit.OK
