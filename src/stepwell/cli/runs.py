"""``stepwell runs``: look at runs, and steer them."""

from typing import Any

from cyclopts import App
from rich.text import Text

from stepwell import AsyncClient, Run
from stepwell.cli.control import cancel, pause, resume, retry
from stepwell.cli.exits import Exit
from stepwell.cli.follow import event_detail, event_text, outcome
from stepwell.cli.interrupts import Interrupted, Interrupts
from stepwell.cli.options import DEFAULT, Common, StatusName, Tags
from stepwell.cli.output import (
    ago,
    console,
    first_line,
    print_fields,
    print_json,
    print_line,
    print_table,
    print_value,
    roughly,
    say,
    status_text,
    waiting_text,
    when,
    wire,
)
from stepwell.cli.repair import fork, hooks, set_step_result
from stepwell.cli.update import update
from stepwell.clock import Clock

runs = App(name="runs", help="Look at runs, and steer them.")
for command in (cancel, pause, resume, retry, update, fork, set_step_result, hooks):
    runs.command(command)


@runs.command(name="list")
async def list_(
    *, workflow: str | None = None, status: StatusName | None = None, tag: Tags = (), parent: str | None = None, limit: int = 20,
    cursor: str | None = None, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """List runs, newest first.

    Parameters
    ----------
    workflow
        Only runs of this workflow.
    status
        Only runs with this status.
    tag
        Only runs with this tag; given several times, with all of them.
    parent
        Only the children of this run.
    limit
        How many at most.
    cursor
        Go on where the last list ended.
    """
    async with common.client_of_existing() as client:
        page = await client.workflow.get_runs(
            workflow_name=workflow, status=status, tags=list(tag) or None, parent_run_id=parent, limit=limit, cursor=cursor
        )
    if common.json:
        print_json({"items": [wire(run) for run in page], "nextCursor": page.next_cursor})
        return Exit.OK
    now_ms = Clock().now_ms()
    columns = ("RUN", "WORKFLOW", "STATUS", "EVENTS", "CREATED", "TOOK", "REMARK")
    print_table(columns, [_row(run, now_ms) for run in page], right=("EVENTS",))
    if page.next_cursor:
        say(f"more: --cursor {page.next_cursor}", "dim")
    return Exit.OK


def _row(run: Run[Any], now_ms: int) -> tuple[str | Text, ...]:
    remark = first_line(run.error or run.cancel_reason or waiting_text(run))
    return (
        run.run_id, run.workflow_name, status_text(run), str(run.event_count), ago(run.created_at, now_ms), _took(run), remark,
    )  # fmt: skip


def _took(run: Run[Any]) -> str:
    if run.started_at is None or run.completed_at is None:
        return ""
    return roughly(int((run.completed_at - run.started_at).total_seconds() * 1000))


@runs.command
async def show(run: str, /, *, common: Common = DEFAULT) -> Exit:
    """Show one run, with input and output.

    Parameters
    ----------
    run
        The run's id.
    """
    async with common.client_of_existing() as client:
        found = await client.workflow.get_run(run)
    if common.json:
        print_json(wire(found))
        return Exit.OK
    fields: list[tuple[str, Any]] = [
        ("run", found.run_id),
        ("workflow", found.workflow_name + (f" version {found.version}" if found.version else "")),
        ("status", status_text(found)),
        ("now", waiting_text(found)),
        ("parent", found.parent_run_id),
        ("tags", ", ".join(found.tags)),
        ("key", found.idempotency_key),
        ("created", when(found.created_at)),
        ("started", when(found.started_at)),
        ("ended", when(found.completed_at)),
        ("took", _took(found)),
        ("attempt", str(found.attempt)),
        ("events", f"{found.event_count} of at most {found.max_events}"),
        ("interruptions", str(found.interruptions or "")),
        ("cancelled because", found.cancel_reason),
        ("error", found.error),
    ]
    print_fields((name, value) for name, value in fields if value)
    _section("input", found.input)
    if found.status == "completed":
        _section("output", found.output)
    if found.error_details is not None and found.error_details.traceback:
        _section("traceback", found.error_details.traceback)
    return Exit.OK


def _section(title: str, value: Any) -> None:
    console().print(Text(f"\n{title}", style="bold"))
    print_value(value)


@runs.command
async def events(run: str, /, *, after: int = 0, limit: int | None = None, common: Common = DEFAULT) -> Exit:
    """Show the history of a run, in order.

    Parameters
    ----------
    run
        The run's id.
    after
        Only events behind this number.
    limit
        How many at most; otherwise all.
    """
    async with common.client_of_existing() as client:
        found = await client.workflow.get_events(run, after=after, limit=limit)
    if common.json:
        print_json({"items": [wire(event) for event in found]})
        return Exit.OK
    rows = [(str(e.seq), f"{when(e.created_at)}", e.event_type, e.step_id or e.name or "", event_detail(e)) for e in found]
    print_table(("SEQ", "TIME", "TYPE", "STEP", "DETAIL"), rows, right=("SEQ",))
    return Exit.OK


@runs.command
async def tail(run: str, /, *, common: Common = DEFAULT) -> Exit:
    """Follow the history of a run, from its beginning until it is over. The exit code is that of the run.

    Parameters
    ----------
    run
        The run's id.
    """
    async with Interrupts() as interrupts, common.client_of_existing() as client:
        try:
            await interrupts.until_asked(_tail(client, run, common))
        except Interrupted:
            return Exit.INTERRUPTED
        return outcome(await client.workflow.get_run(run))


async def _tail(client: AsyncClient, run_id: str, common: Common) -> None:
    async for event in client.workflow.stream_events(run_id):
        if common.json:
            print_line(wire(event))
        else:
            console().print(event_text(event), soft_wrap=True)


@runs.command
async def why(run: str, /, *, common: Common = DEFAULT) -> Exit:
    """Say why a run is not moving, in one sentence.

    Parameters
    ----------
    run
        The run's id.
    """
    async with common.client_of_existing() as client:
        reason = await client.workflow.why(run)
    if common.json:
        print_json({"runId": run, "why": reason})
    else:
        print_value(reason)
    return Exit.OK
