"""``stepwell db prune``: runs that are over, removed for good."""

import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common, Flag
from stepwell.cli.output import notes, print_json, print_value, say
from stepwell.cli.stores import Outcome, noted, opened_store
from stepwell.durations import from_ms, parse_ms, to_ms
from stepwell.engine.keeping import Keeper, OldRuns, Removed
from stepwell.model import Status

Ended: TypeAlias = Literal["completed", "failed", "cancelled"]
_ALL: Final[tuple[Status, ...]] = ("completed", "failed", "cancelled")
_TOLD_EACH: Final = 50_000


async def prune(
    *, older_than: str | None = None, before: datetime | None = None, status: tuple[Ended, ...] = (), workflow: str | None = None,
    dry_run: Flag = False, yes: Flag = False, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Remove runs that are over, with their histories, signals, hooks and idempotency keys. Their number is shown before.

    Runs that are not over stay, and so do those for which somebody waits or whose parent is not over. Safe at any time and from
    many processes at once; one that was stopped midway is gone on with by the next.

    Parameters
    ----------
    older_than
        Those that ended longer ago, as in 30d or 12h.
    before
        Those that ended before this time, as in 2026-02-22T22:54:39Z; UTC where it does not say.
    status
        Only those with this status (otherwise completed, failed and cancelled ones). Several times for several.
    workflow
        Only those of this workflow.
    dry_run
        Count them, and remove nothing.
    yes
        Do not ask.
    """
    if (older_than is None) == (before is None):
        raise UsageError("say which: --older-than 30d, or --before 2026-02-22T22:54:39Z")
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(opened_store(common))
        now_ms = engine.now_ms()
        if before is None:
            before_ms = now_ms - parse_ms(older_than or "", bare="ms", field="--older-than")
        else:
            before_ms = to_ms(before if before.tzinfo is not None else before.replace(tzinfo=UTC), field="--before")
        if before_ms > now_ms:
            raise UsageError("--before must not lie in the future: what ends while this goes on is not old")
        which = OldRuns(before_ms=before_ms, statuses=status or _ALL, workflow_name=workflow)
        matched, held = await engine.count_old(which)
        if dry_run:
            return _tell(Removed(held=held), matched, common, "would be removed")
        if matched and not yes and not _agrees(matched):
            say("nothing was removed")
            return Exit.FAILED
        what = f"before {from_ms(before_ms).isoformat()}, {' '.join(which.statuses)}, {workflow or 'all workflows'}"
        async with noted(engine, "pruneRuns", what) as outcome:
            removed = await _prune(engine, which, outcome)
        return _tell(removed, matched, common, "are removed")


def _agrees(count: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"this would remove {count:,} runs for good; add --yes")
    return notes().input(f"remove {count:,} runs for good? [y/N] ").strip().lower() in {"y", "yes"}


async def _prune(engine: Keeper, which: OldRuns, outcome: Outcome) -> Removed:
    removed, told = Removed(), 0
    async for removed in engine.prune(which):
        outcome.text = f"{removed.runs} runs"
        if removed.rows // _TOLD_EACH > told:
            told = removed.rows // _TOLD_EACH
            say(f"{removed.runs:,} runs, {removed.rows:,} rows")
    return removed


def _tell(removed: Removed, matched: int, common: Common, done: str) -> Exit:
    if common.json:
        print_json({"matched": matched, "removed": removed.runs, "rows": removed.rows, "held": removed.held})
        return Exit.OK
    held = f"; {removed.held:,} stay, because a parent or somebody who waits may ask for them" if removed.held else ""
    count = matched if done.startswith("would") else removed.runs
    print_value(f"{count:,} runs {done}{held}")
    return Exit.OK
