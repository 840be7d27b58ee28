"""Following one run until it is over, and showing how it goes on."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, cast

from rich.status import Status
from rich.text import Text

from stepwell import AsyncClient, Event, Run
from stepwell.cli.exits import Exit
from stepwell.cli.options import Common
from stepwell.cli.output import brief, first_line, notes, plain, print_json, print_value, roughly, say, waiting_text, wire

_LINES_MAX: Final = 200
"""So many events are shown a line each; of a longer history only the count, and what went wrong."""
_LOOK_S: Final = 1.0
_ALWAYS_SHOWN: Final = frozenset(
    {"step_failed", "step_retrying", "step_interrupted", "run_failed", "run_cancelled", "run_completed"}
)
_STYLES: Final = {
    "step_completed": "green", "run_completed": "green", "step_failed": "red", "run_failed": "red", "run_cancelled": "yellow",
    "step_retrying": "yellow", "step_interrupted": "red", "run_paused": "magenta",
}  # fmt: skip


def event_text(event: Event) -> Text:
    """Return an event as one line: when, what, which, and what came of it."""
    text = Text(f"{event.created_at:%H:%M:%S}.{event.created_at.microsecond // 1000:03}  ", style="dim")
    text.append(f"{event.event_type:<16}", style=_STYLES.get(event.event_type, "cyan"))
    parts = [plain(part) for part in (event.step_id or event.name or "", event_detail(event)) if part]
    text.append("".join(f"  {part}" for part in parts), style="default")
    return text


def event_detail(event: Event) -> str:
    """Return what came of an event, in brief."""
    payload: Any = event.payload
    if not isinstance(payload, dict):
        return brief(payload)
    told = cast(dict[str, Any], payload)
    if isinstance(told.get("error"), dict):
        error = cast(dict[str, Any], told["error"])
        return first_line(f"{error.get('type')}: {error.get('message')}")
    match event.event_type:
        case "run_created":
            return brief(told.get("input"))
        case "run_completed":
            return brief(told.get("output"))
        case "run_started" if told == {"attempt": 1}:
            return ""
        case "step_completed":
            duration_ms: Any = told.get("durationMs")
            took = f" in {roughly(duration_ms)}" if isinstance(duration_ms, int) and duration_ms > 0 else ""
            return f"{brief(told.get('result')) or 'null'}{took}"
        case _:
            return brief(told) if told else ""


class Progress:
    """What a person sees of a run that goes on: a line an event, and at a terminal a line that moves."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._events = 0
        self._steps = 0
        self._waiting = ""
        self._stack = AsyncExitStack()
        self._moving: Status | None = None

    async def __aenter__(self) -> Self:
        if notes().is_terminal:
            self._moving = self._stack.enter_context(notes().status(self._line()))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /) -> None:
        await self._stack.aclose()

    def event(self, event: Event) -> None:
        """Show an event."""
        self._events += 1
        self._steps += event.event_type == "step_completed"
        self._waiting = ""
        if self._events <= _LINES_MAX or event.event_type in _ALWAYS_SHOWN:
            notes().print(event_text(event), soft_wrap=True)
        elif self._events == _LINES_MAX + 1:
            say("...", "dim")
        self._move()

    def waiting(self, run: Run[Any]) -> None:
        """Show what the run waits for."""
        waiting = waiting_text(run)
        if waiting != self._waiting:
            self._waiting = waiting
            if waiting and self._moving is None:
                say(waiting)
            self._move()

    def _move(self) -> None:
        if self._moving is not None:
            self._moving.update(self._line())

    def _line(self) -> Text:
        waiting = f", {self._waiting}" if self._waiting else ""
        return Text(plain(f"{self._run_id}: {self._steps} steps{waiting}"), no_wrap=True, overflow="ellipsis")


async def follow(client: AsyncClient, run_id: str) -> Run[Any]:
    """Show a run's progress until it is over; return it as it is then."""
    async with Progress(run_id) as progress:
        watching = asyncio.ensure_future(_watch(client, run_id, progress))
        try:
            async for event in client.workflow.stream_events(run_id):
                progress.event(event)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return await client.workflow.get_run(run_id)


async def _watch(client: AsyncClient, run_id: str, progress: Progress) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        progress.waiting(await client.workflow.get_run(run_id))


def outcome(run: Run[Any]) -> Exit:
    """Return the exit code that a run which is over stands for."""
    return Exit.OK if run.status == "completed" else Exit.FAILED


def print_outcome(run: Run[Any], common: Common) -> Exit:
    """Print what became of a run; return the exit code that it stands for."""
    if common.json:
        print_json(wire(run))
    elif run.status == "completed":
        print_value(run.output)
    else:
        say(f"stepwell: run {run.run_id} {run.status}: {run.error or run.cancel_reason or 'no reason was given'}", "red")
    return outcome(run)
