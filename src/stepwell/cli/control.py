"""``stepwell runs cancel | pause | resume | retry``: one run by its id, or all that a filter names."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from cyclopts import Parameter

from stepwell import AsyncClient, Run
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common, Flag, StatusName, Tags
from stepwell.cli.output import notes, print_json, print_value, say, wire
from stepwell.engine.api import RunFilter
from stepwell.errors import ConflictError, NotFoundError
from stepwell.model import Status


class _Action(NamedTuple):
    verb: str
    done: str
    statuses: Sequence[Status]
    """Of the runs to which it can be done."""
    call: Callable[[AsyncClient, str], Awaitable[Run[Any]]]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which runs: those to which all of it applies."""

    workflow: str | None = None
    """Filter: runs of this workflow."""
    tag: Tags = ()
    """Filter: runs with this tag; given several times, with all of them."""
    parent: str | None = None
    """Filter: the children of this run."""
    created_after: datetime | None = None
    """Filter: runs made at this time or later, as in 2026-02-22T22:54:39Z; UTC where it does not say."""
    created_before: datetime | None = None
    """Filter: runs made before this time."""

    @property
    def is_empty(self) -> bool:
        """Whether it names no runs, and so all."""
        return self == Filter()

    def asked(self, status: Status | None) -> RunFilter:
        """Return what to ask of an engine: the runs with this status."""
        return RunFilter(
            workflow_name=self.workflow, status=status, parent_run_id=self.parent, tags=self.tag,
            created_after=_aware(self.created_after), created_before=_aware(self.created_before),
        )  # fmt: skip

    def matching(self, client: AsyncClient, status: Status) -> AsyncIterator[Run[Any]]:
        """Return the runs with this status."""
        return client.workflow.iter_runs(
            self.workflow, status, self.parent, list(self.tag) or None, _aware(self.created_after), _aware(self.created_before)
        )


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


ALL: Final = Filter()
_AT_ONCE: Final = 200
"""So many are asked for together, so that they share commits."""


class _Skipped(NamedTuple):
    run_id: str
    reason: str


_OPEN: Final[Sequence[Status]] = ("pending", "running", "paused")


async def cancel(
    run: str | None = None, /, *, status: StatusName | None = None, only: Filter = ALL, reason: str | None = None,
    no_children: Flag = False, yes: Flag = False, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Cancel a run, or with a filter instead of an id all runs that it names. The number is shown before.

    Parameters
    ----------
    run
        The run's id.
    status
        Filter: runs with this status (otherwise all that are not over).
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
    return await _act(action, run, only, status, yes, common)


async def pause(
    run: str | None = None, /, *, status: StatusName | None = None, only: Filter = ALL, yes: Flag = False,
    common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Pause a run, or all that a filter names. Steps under way finish, and no more start until it is resumed.

    Parameters
    ----------
    run
        The run's id.
    status
        Filter: runs with this status (otherwise pending and running ones).
    yes
        Do not ask.
    """

    async def call(client: AsyncClient, run_id: str) -> Run[Any]:
        return await client.workflow.pause(run_id)

    action = _Action("pause", "paused", ("pending", "running"), call)
    return await _act(action, run, only, status, yes, common)


async def resume(run: str | None = None, /, *, only: Filter = ALL, yes: Flag = False, common: Common = DEFAULT) -> Exit:
    """Let a paused run go on, or all paused ones that a filter names.

    Parameters
    ----------
    run
        The run's id.
    yes
        Do not ask.
    """

    async def call(client: AsyncClient, run_id: str) -> Run[Any]:
        return await client.workflow.resume(run_id)

    action = _Action("resume", "resumed", ("paused",), call)
    return await _act(action, run, only, None, yes, common)


async def retry(run: str | None = None, /, *, only: Filter = ALL, yes: Flag = False, common: Common = DEFAULT) -> Exit:
    """Let a failed run go on from what it has recorded, or all failed ones that a filter names.

    Parameters
    ----------
    run
        The run's id.
    yes
        Do not ask.
    """

    async def call(client: AsyncClient, run_id: str) -> Run[Any]:
        return await client.workflow.retry(run_id)

    action = _Action("retry", "retried", ("failed",), call)
    return await _act(action, run, only, None, yes, common)


async def _act(
    action: _Action, run: str | None, only: Filter, status: Status | None, yes: bool, common: Common
) -> Exit:  # fmt: skip
    if (run is None) == (only.is_empty and status is None):
        raise UsageError("name a run, or a filter (--workflow, --tag and so on), and not both")
    if status is not None and status not in action.statuses:
        raise UsageError(f"--status: only {', '.join(action.statuses)} runs can be {action.done}, not {status} ones")
    async with common.client_of_existing() as client:
        if run is not None:
            return _tell(action, await action.call(client, run), common)
        statuses: Sequence[Status] = action.statuses if status is None else [status]
        run_ids = list(dict.fromkeys([found.run_id for each in statuses async for found in only.matching(client, each)]))
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
    done, skipped = 0, list[_Skipped]()
    for start in range(0, len(run_ids), _AT_ONCE):
        some = run_ids[start : start + _AT_ONCE]
        outcomes = await asyncio.gather(*(_try(action, client, run_id) for run_id in some), return_exceptions=True)
        skipped += [outcome for outcome in outcomes if isinstance(outcome, _Skipped)]
        done += outcomes.count(None)
        failed = next((outcome for outcome in outcomes if isinstance(outcome, BaseException)), None)
        if failed is not None:
            say(f"{done} of {len(run_ids)} runs are {action.done}; then:")
            raise failed
    if common.json:
        left = [{"runId": one.run_id, "reason": one.reason} for one in skipped]
        print_json({"matched": len(run_ids), action.done: done, "skipped": left})
        return Exit.OK
    for one in skipped:
        say(f"{one.run_id}: {one.reason}")
    moved = f"; {len(skipped)} had moved on" if skipped else ""
    print_value(f"{done} of {len(run_ids)} runs are {action.done}{moved}")
    return Exit.OK


async def _try(action: _Action, client: AsyncClient, run_id: str) -> _Skipped | None:
    """Do it to one run. One that has moved on since it was listed is told, and no error."""
    try:
        run = await action.call(client, run_id)
    except (ConflictError, NotFoundError) as error:
        return _Skipped(run_id, str(error))
    if action.verb == "cancel" and run.status in ("completed", "failed"):
        return _Skipped(run_id, f"it was {run.status} already")
    return None
