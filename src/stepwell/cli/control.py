"""``stepwell runs cancel | pause | resume | retry``: one run by its id, or all that a filter names."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from stepwell import AsyncClient, Run
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common, Flag, StatusName, Tags
from stepwell.cli.output import notes, print_json, print_value, say, wire
from stepwell.errors import ConflictError
from stepwell.model import Status


class _Action(NamedTuple):
    verb: str
    done: str
    statuses: Sequence[Status]
    """Of the runs to which it can be done."""
    call: Callable[[AsyncClient, str], Awaitable[Run[Any]]]


class _Filter(NamedTuple):
    workflow: str | None
    status: StatusName | None
    tags: Sequence[str]

    @property
    def is_empty(self) -> bool:
        return self.workflow is None and self.status is None and not self.tags


_OPEN: Final[Sequence[Status]] = ("pending", "running", "paused")


async def cancel(
    run: str | None = None, /, *, workflow: str | None = None, status: StatusName | None = None, tag: Tags = (),
    reason: str | None = None, no_children: Flag = False, yes: Flag = False, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Cancel a run, or with a filter instead of an id all runs that it names. The number is shown before.

    Parameters
    ----------
    run
        The run's id.
    workflow
        Filter: runs of this workflow.
    status
        Filter: runs with this status (otherwise all that are not over).
    tag
        Filter: runs with this tag; given several times, with all of them.
    reason
        Why. It is kept with the run.
    no_children
        Leave alone the children that it waits for.
    yes
        Do not ask.
    """

    async def call(client: AsyncClient, run_id: str) -> Run[Any]:
        return await client.workflow.cancel(run_id, reason=reason, children=not no_children)

    action = _Action("cancel", "cancelled", _OPEN, call)
    return await _act(action, run, _Filter(workflow, status, tag), yes, common)


async def pause(
    run: str | None = None, /, *, workflow: str | None = None, status: StatusName | None = None, tag: Tags = (),
    yes: Flag = False, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Pause a run, or all that a filter names. Steps under way finish, and no more start until it is resumed.

    Parameters
    ----------
    run
        The run's id.
    workflow
        Filter: runs of this workflow.
    status
        Filter: runs with this status (otherwise pending and running ones).
    tag
        Filter: runs with this tag; given several times, with all of them.
    yes
        Do not ask.
    """

    async def call(client: AsyncClient, run_id: str) -> Run[Any]:
        return await client.workflow.pause(run_id)

    action = _Action("pause", "paused", ("pending", "running"), call)
    return await _act(action, run, _Filter(workflow, status, tag), yes, common)


async def resume(
    run: str | None = None, /, *, workflow: str | None = None, tag: Tags = (), yes: Flag = False, common: Common = DEFAULT
) -> Exit:
    """Let a paused run go on, or all paused ones that a filter names.

    Parameters
    ----------
    run
        The run's id.
    workflow
        Filter: runs of this workflow.
    tag
        Filter: runs with this tag; given several times, with all of them.
    yes
        Do not ask.
    """

    async def call(client: AsyncClient, run_id: str) -> Run[Any]:
        return await client.workflow.resume(run_id)

    action = _Action("resume", "resumed", ("paused",), call)
    return await _act(action, run, _Filter(workflow, None, tag), yes, common)


async def retry(
    run: str | None = None, /, *, workflow: str | None = None, tag: Tags = (), yes: Flag = False, common: Common = DEFAULT
) -> Exit:
    """Let a failed run go on from what it has recorded, or all failed ones that a filter names.

    Parameters
    ----------
    run
        The run's id.
    workflow
        Filter: runs of this workflow.
    tag
        Filter: runs with this tag; given several times, with all of them.
    yes
        Do not ask.
    """

    async def call(client: AsyncClient, run_id: str) -> Run[Any]:
        return await client.workflow.retry(run_id)

    action = _Action("retry", "retried", ("failed",), call)
    return await _act(action, run, _Filter(workflow, None, tag), yes, common)


async def _act(action: _Action, run: str | None, only: _Filter, yes: bool, common: Common) -> Exit:
    if (run is None) == only.is_empty:
        raise UsageError("name a run, or a filter (--workflow, --tag and so on), and not both")
    if only.status is not None and only.status not in action.statuses:
        raise UsageError(f"--status: only {', '.join(action.statuses)} runs can be {action.done}, not {only.status} ones")
    async with common.client_of_existing() as client:
        if run is not None:
            return _tell(action, await action.call(client, run), common)
        statuses: Sequence[Status] = action.statuses if only.status is None else [only.status]
        run_ids = [
            found.run_id
            for status in statuses
            async for found in client.workflow.iter_runs(only.workflow, status, tags=list(only.tags) or None)
        ]
        if run_ids and not yes and not _agrees(action, len(run_ids)):
            say(f"nothing was {action.done}")
            return Exit.FAILED
        return await _act_on_all(action, client, run_ids, common)


def _tell(action: _Action, run: Run[Any], common: Common) -> Exit:
    if common.json:
        print_json(wire(run))
    elif action.verb == "cancel" and run.status in ("completed", "failed"):
        print_value(f"run {run.run_id} was {run.status} already")
    elif action.verb in ("cancel", "pause") and run.status != action.done:
        print_value(f"run {run.run_id} is being {action.done}")
    else:
        print_value(f"run {run.run_id} is {action.done}")
    return Exit.OK


def _agrees(action: _Action, count: int) -> bool:
    what = f"{count} run{'s' if count != 1 else ''}"
    if not sys.stdin.isatty():
        raise UsageError(f"this would {action.verb} {what}; add --yes")
    return notes().input(f"{action.verb} {what}? [y/N] ").strip().lower() in {"y", "yes"}


async def _act_on_all(action: _Action, client: AsyncClient, run_ids: Sequence[str], common: Common) -> Exit:
    say(f"{len(run_ids)} runs are to be {action.done}")
    done = 0
    for run_id in run_ids:
        try:
            run = await action.call(client, run_id)
        except ConflictError as error:
            say(f"{run_id}: {error}")
        else:
            done += action.verb != "cancel" or run.status not in ("completed", "failed")
    if common.json:
        print_json({"matched": len(run_ids), action.done: done})
    else:
        print_value(f"{done} of {len(run_ids)} runs are {action.done}; the others had moved on")
    return Exit.OK
