"""``stepwell check``: would this code fit the runs that are there?"""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from rich.text import Text

from stepwell import AsyncClient, Run, Workflow
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.modules import find_workflows
from stepwell.cli.options import DEFAULT, Common, Flag
from stepwell.cli.output import console, plain, print_json, say
from stepwell.errors import StepwellError
from stepwell.execution.histories import assignment_of
from stepwell.execution.rehearsal import Finding, Rehearsal, Verdict, rehearse
from stepwell.model import Status

_IN_FLIGHT: Final[tuple[Status, ...]] = ("pending", "running", "paused")
_STYLES: Final[dict[Verdict, str]] = {"breaks": "red", "decide": "yellow", "harmless": "green"}
_RUNS_SHOWN: Final = 5
_RUNS_NAMED: Final = 100
_PARTICULAR: Final = re.compile(r" \(event \d+[^)]*\)| with the fingerprint \w+")
"""What tells one run's finding from the same of another."""


class _Group:
    """One finding, and the runs that it is about."""

    def __init__(self, workflow: str, finding: Finding) -> None:
        self.workflow = workflow
        self.finding = finding
        self.run_ids: list[str] = []


class _Key(NamedTuple):
    verdict: str
    workflow: str
    text: str
    line: str


async def check(module: str, /, *, run: str | None = None, in_flight: Flag = False, common: Common = DEFAULT) -> Exit:
    """Replay recorded histories against the code of a module, without effects, and say what does not fit.

    No step runs, and nothing is written. A change is harmless, needs a decision, or breaks: then the runs that it is about would
    wait for code that fits. The exit code is 1 if anything breaks or needs a decision.

    Parameters
    ----------
    module
        MODULE, or MODULE:workflow for one workflow of it; a dotted name or a file.
    run
        Only this run, in flight or over.
    in_flight
        All runs of these workflows that are not over. This is what is done if no run is named.
    """
    if run is not None and in_flight:
        raise UsageError("--run and --in-flight exclude each other")
    known = {wf.key: wf for wf in find_workflows(module)}
    groups: dict[_Key, _Group] = {}
    count = unfit = 0
    async with common.client_of_existing() as client:
        async for found in _chosen(client, run, module, known):
            rehearsal = await _rehearsed(client, found, module, known)
            count += 1
            unfit += not rehearsal.fits
            for finding in rehearsal.findings:
                key = _Key(finding.verdict, found.workflow_name, _PARTICULAR.sub("", finding.text), finding.line)
                groups.setdefault(key, _Group(found.workflow_name, finding)).run_ids.append(found.run_id)
    found_groups = sorted(groups.values(), key=lambda group: (list(_STYLES).index(group.finding.verdict), group.workflow))
    if common.json:
        print_json({"ok": unfit == 0, "runs": count, "unfit": unfit, "findings": [_wire(group) for group in found_groups]})
    else:
        for group in found_groups:
            _print(group)
        say(f"{count} run{'s' if count != 1 else ''} replayed; {unfit or 'none'} to look at")
    return Exit.FAILED if unfit else Exit.OK


async def _chosen(
    client: AsyncClient, run_id: str | None, module: str, known: Mapping[tuple[str, str], Workflow[Any, Any]]
) -> AsyncIterator[Run[Any]]:
    names = sorted({name for name, _ in known})
    if run_id is not None:
        found = await client.workflow.get_run(run_id)
        if found.workflow_name not in names:
            raise UsageError(f"run {run_id} is of workflow {found.workflow_name!r}, and {module!r} has only {', '.join(names)}")
        yield found
        return
    for name in names:
        for status in _IN_FLIGHT:
            async for found in client.workflow.iter_runs(name, status):
                yield found


async def _rehearsed(
    client: AsyncClient, run: Run[Any], module: str, known: Mapping[tuple[str, str], Workflow[Any, Any]]
) -> Rehearsal:
    wf = known.get((run.workflow_name, run.version or ""))
    if wf is None:
        version = f"version {run.version!r}" if run.version else "no version"
        text = f"{module!r} does not have the {version} of {run.workflow_name!r}: its workers leave such runs to others"
        if not run.version:
            text = f"{module!r} has {run.workflow_name!r} in versions only: its workers leave runs without one to others"
        return Rehearsal(run_id=run.run_id, findings=[Finding(verdict="decide", text=text)])
    events = await client.workflow.get_events(run.run_id)
    try:
        return await rehearse(assignment_of(run, events), wf.execute, client.workflow)
    except (StepwellError, msgspec.MsgspecError) as error:
        text = f"its history cannot be read: {error}"
        return Rehearsal(run_id=run.run_id, findings=[Finding(verdict="breaks", text=text)])


def _wire(group: _Group) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(group.finding)
    shown["workflowName"] = group.workflow
    shown["count"] = len(group.run_ids)
    shown["runIds"] = group.run_ids[:_RUNS_NAMED]
    return shown


def _print(group: _Group) -> None:
    finding, count = group.finding, len(group.run_ids)
    text = Text(f"{finding.verdict:<9}", style=_STYLES[finding.verdict])
    text.append(plain(f"{group.workflow}: {finding.text}"), style="default")
    console().print(text, soft_wrap=True)
    named = ", ".join(group.run_ids[:_RUNS_SHOWN]) + (", ..." if count > _RUNS_SHOWN else "")
    details = {
        "at": finding.line, "recorded": finding.recorded, "asked": finding.asked,
        "runs": named if count == 1 else f"{count}: {named}",
    }  # fmt: skip
    for name, value in details.items():
        if value:
            console().print(Text(plain(f"          {name:<9}{value}"), style="dim"), soft_wrap=True)
