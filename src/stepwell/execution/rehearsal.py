"""Replays a history against the code, without effects: what would become of this run with this code?

A first pass goes as far as the history does. If something recorded has not been asked for by then, a second one supposes that
whatever is not recorded comes out as null, and so tells what is asked for later from what is not asked for at all.
"""

import asyncio
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from stepwell.execution import tasks
from stepwell.execution.call import FailureRecord
from stepwell.execution.dry import Added, DryRun
from stepwell.execution.executor import Body
from stepwell.execution.failures import recorded_failure, traced_line
from stepwell.execution.host import Flows
from stepwell.execution.identity import kind_of
from stepwell.model import STATUSES
from stepwell.progress import Assignment, StoredEvent

Verdict: TypeAlias = Literal["harmless", "decide", "breaks"]

_COMPLETED: Final = STATUSES.index("completed")
_FREE: Final = frozenset({"state", "patch"})
"""What may be added anywhere: it only says something of the run."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A difference between code and history, with both sides where there are two."""

    verdict: Verdict
    text: str
    """A sentence."""
    recorded: str = ""
    asked: str = ""
    line: str = ""
    """``file:line`` of the code."""
    event: int | None = None
    """The number of the recorded event."""


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was found for one run. ``ended`` is the status in which the code leaves it, None if it would go on."""

    run_id: str
    findings: list[Finding]
    ended: str | None = None

    @property
    def fits(self) -> bool:
        """Whether nothing breaks, and nothing is to be decided."""
        return all(finding.verdict == "harmless" for finding in self.findings)


class _Final(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw(b"null")


async def rehearse(assignment: Assignment, body: Body, flows: Flows, *, await_s: float = 5.0) -> Rehearsal:
    """Replay a run as far as it is recorded. Bodies of steps do not run, and nothing is written.

    Args:
        flows: ``client.workflow`` of any client. It is asked for nothing.
        await_s: How long the workflow's own code may take. What it awaits that is not durable is really awaited.

    Raises:
        msgspec.MsgspecError: An event of the history cannot be read.
    """
    unwatch = tasks.watch(asyncio.get_running_loop())
    try:
        strict = DryRun(assignment, body, flows, supposes=False)
        await strict.go(await_s)
        left = [] if strict.misfits else strict.history.left()
        supposing = None
        if left and strict.end is None and strict.exit is None and not strict.is_late:
            supposing = DryRun(assignment, body, flows, supposes=True)
            await supposing.go(await_s)
    finally:
        unwatch()
    findings = [*_added(strict), *_left(left, strict, supposing), *_ends(assignment, strict, is_short=bool(left))]
    if strict.is_late:
        text = f"the code awaits something that is not durable, and did not come to rest within {await_s:g} s"
        findings.append(Finding(verdict="decide", text=text))
    return Rehearsal(run_id=assignment.run_id, findings=findings, ended=None if strict.end is None else STATUSES[strict.end[0]])


def _added(strict: DryRun) -> Iterator[Finding]:
    for misfit in strict.misfits:
        text = f"the history records {misfit.recorded}; the code asks for {misfit.asked}"
        yield Finding(verdict="breaks", text=text, recorded=misfit.recorded, asked=misfit.asked, line=misfit.line)
    for added in strict.history.added:
        yield _new(added)


def _new(added: Added) -> Finding:
    kind, before = kind_of(added.identity), added.before
    asked, recorded = f"{kind} {added.identity!r}", "" if before is None else _words(before)
    if kind == "patch":
        text = f"{asked} is new: this run, which is beyond it, goes the old way"
    elif kind in _FREE:
        text = f"{asked} is new"
    else:
        text = f"{asked} is new, and would be done now, though {recorded} behind it was done already (ctx.patched leaves it out)"
    return Finding(
        verdict="harmless" if kind in _FREE else "decide", text=text, recorded=recorded, asked=asked, line=added.line,
        event=None if before is None else before.seq,
    )  # fmt: skip


def _left(left: list[StoredEvent], strict: DryRun, supposing: DryRun | None) -> Iterator[Finding]:
    """Say what becomes of the recorded operations that were not asked for up to where the run is."""
    history = strict.history
    never = {event.step_id for event in (left if supposing is None else supposing.history.left())}
    ends = strict if supposing is None else supposing
    for event in left:
        what = _words(event)
        if event.step_id not in never:
            if history.waits:
                wait = history.waits[0]
                text = f"{what} was done already, and the code waits for {wait.identity!r} before it asks for that"
                asked = f"wait {wait.identity!r}"
                yield Finding(verdict="decide", text=text, recorded=what, asked=asked, line=wait.line, event=event.seq)
            elif not history.added:
                text = f"{what} is asked for later than it was recorded"
                yield Finding(verdict="harmless", text=text, recorded=what, event=event.seq)
        elif strict.end is not None or (ends.end is not None and ends.end[0] == _COMPLETED):
            text = f"{what} is recorded, and the code never asks for it"
            asked = "the end of the workflow"
            yield Finding(verdict="breaks", text=text, recorded=what, asked=asked, event=event.seq)
        else:
            text = f"{what} is not asked for up to where the run is, and whether it is later cannot be told from here"
            yield Finding(verdict="decide", text=text, recorded=what, event=event.seq)


def _ends(assignment: Assignment, strict: DryRun, *, is_short: bool) -> Iterator[Finding]:
    """Compare how the code ends with how the run did."""
    last = assignment.history[-1]
    if strict.exit is not None:
        yield Finding(verdict="decide", text=f"the code asks the process to end: {strict.exit!r}")
    if strict.end is None or last.type == "run_cancelled":
        return
    status, payload = strict.end
    if status != _COMPLETED:
        failure = recorded_failure(payload)
        was = recorded_failure(last.payload) if last.type == "run_failed" else None
        if was is None or (was.type, was.message) != (failure.type, failure.message):
            asked = _error(failure)
            recorded = _words(last) if was is None else _error(was)
            line = traced_line(failure.traceback or "")
            verdict: Verdict = "breaks" if is_short else "decide"
            yield Finding(verdict=verdict, text=f"the code fails with {asked}", recorded=recorded, asked=asked, line=line)
    elif last.type == "run_failed":
        yield Finding(verdict="decide", text="the code ends well where the run has failed", recorded=_words(last))
    elif last.type == "run_completed" and (was_output := _output(last.payload)) != (output := _output(payload)):
        text = "the code returns another output"
        yield Finding(verdict="decide", text=text, recorded=f"output {was_output:.200}", asked=f"output {output:.200}")


def _output(payload: str) -> str:
    value: object = msgspec.json.decode(msgspec.json.decode(payload, type=_Final).output)
    return msgspec.json.encode(value, order="sorted").decode()


def _error(failure: FailureRecord) -> str:
    return f"{failure.type}: {failure.message:.200}"


def _words(event: StoredEvent) -> str:
    return f"{event.type} of {event.step_id!r} (event {event.seq})" if event.step_id else f"{event.type} (event {event.seq})"
