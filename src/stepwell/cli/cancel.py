"""``stepwell runs cancel``: one run by its id, or all that a filter names."""

import sys
from collections.abc import Sequence
from typing import Any

from stepwell import AsyncClient, Run
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common, Flag, StatusName, Tags
from stepwell.cli.output import notes, print_json, print_value, say, wire
from stepwell.errors import ConflictError
from stepwell.model import OVER, STATUSES, Status


async def cancel(
    run: str | None = None, /, *, workflow: str | None = None, status: StatusName | None = None, tag: Tags = (),
    reason: str | None = None, yes: Flag = False, common: Common = DEFAULT,
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
    yes
        Do not ask.
    """
    is_filter = workflow is not None or status is not None or bool(tag)
    if (run is None) != is_filter:
        raise UsageError("name a run, or a filter (--workflow, --status, --tag), and not both")
    if status in OVER:
        raise UsageError(f"--status: runs that are {status} are over; only {', '.join(_OPEN)} ones can be cancelled")
    async with common.client_of_existing() as client:
        if run is not None:
            return _tell(await client.workflow.cancel(run, reason=reason), common)
        run_ids = await _matching(client, workflow, _OPEN if status is None else [status], list(tag) or None)
        if run_ids and not yes and not _agrees(len(run_ids)):
            say("nothing was cancelled")
            return Exit.FAILED
        return await _cancel_all(client, run_ids, reason, common)


_OPEN: Sequence[Status] = [status for status in STATUSES if status not in OVER]


def _tell(cancelled: Run[Any], common: Common) -> Exit:
    if common.json:
        print_json(wire(cancelled))
    elif cancelled.status == "cancelled" or not cancelled.is_over:
        print_value(f"run {cancelled.run_id} is {'cancelled' if cancelled.is_over else 'being cancelled'}")
    else:
        print_value(f"run {cancelled.run_id} was {cancelled.status} already")
    return Exit.OK


async def _matching(
    client: AsyncClient, workflow: str | None, statuses: Sequence[Status], tags: Sequence[str] | None
) -> list[str]:
    return [
        run.run_id
        for status in statuses
        async for run in client.workflow.iter_runs(workflow_name=workflow, status=status, tags=tags)
    ]


def _agrees(count: int) -> bool:
    what = f"{count} run{'s' if count != 1 else ''}"
    if not sys.stdin.isatty():
        raise UsageError(f"this would cancel {what}; add --yes")
    return notes().input(f"cancel {what}? [y/N] ").strip().lower() in {"y", "yes"}


async def _cancel_all(client: AsyncClient, run_ids: Sequence[str], reason: str | None, common: Common) -> Exit:
    say(f"cancelling {len(run_ids)} runs")
    cancelled = 0
    for run_id in run_ids:
        try:
            cancelled += (await client.workflow.cancel(run_id, reason=reason)).status not in {"completed", "failed"}
        except ConflictError as error:
            say(f"{run_id}: {error}")
    if common.json:
        print_json({"matched": len(run_ids), "cancelled": cancelled})
    else:
        print_value(f"{cancelled} of {len(run_ids)} runs are cancelled; the others were over")
    return Exit.OK
