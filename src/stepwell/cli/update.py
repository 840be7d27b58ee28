"""``stepwell runs update``."""

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common, Flag, Tags
from stepwell.cli.output import print_json, print_value, wire


async def update(
    run: str, /, *, tag: Tags = (), no_tags: Flag = False, priority: int | None = None, max_events: int | None = None,
    execution_timeout: str | None = None, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Change the tags, the priority or the limits of a run.

    Parameters
    ----------
    run
        The run's id.
    tag
        A tag, instead of those that it has; may be given several times.
    no_tags
        Take all tags away.
    priority
        Which of the runs that wait goes first: the highest.
    max_events
        How long its history may get.
    execution_timeout
        How long it may take from its start, as in 90s or 1h30m.
    """
    if tag and no_tags:
        raise UsageError("give --tag or --no-tags, not both")
    async with common.client_of_existing() as client:
        changed = await client.workflow.update_run(
            run, tags=list(tag) if tag or no_tags else None, priority=priority, max_events=max_events,
            execution_timeout=execution_timeout,
        )  # fmt: skip
    if common.json:
        print_json(wire(changed))
    else:
        print_value(f"run {run} is changed")
    return Exit.OK
