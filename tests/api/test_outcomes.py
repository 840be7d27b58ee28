"""The table in ``docs/outcomes.md``, cell by cell: a run in a state, something that is done to it, and what becomes of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from stepwell import ConflictError, Run
from tests.api.situations import RUN, SITUATIONS, TIMEOUT_MS, Scene, Situation, scene
from tests.house.tree import ROOT

LEASE_MS: Final = 5_000


def _table() -> list[list[str]]:
    text = (ROOT / "docs" / "outcomes.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if not row[0].startswith("---")]


HEAD, *ROWS = _table()
CELLS: Final = [(row[0], action, cell) for row in ROWS for action, cell in zip(HEAD[1:], row[1:], strict=True)]


# -- what is done


async def _time_out(here: Scene) -> None:
    here.clock.advance(TIMEOUT_MS + 1)
    await _some_turns()
    engine: Any = await here.client.engine()
    await engine.reaper.expire()


async def _fork(here: Scene) -> Run[Any]:
    return await here.flows.fork(RUN, run_id="the-fork")


ACTIONS: Final[dict[str, Callable[[Scene], Awaitable[Any]]]] = {
    "cancel": lambda here: here.flows.cancel(RUN),
    "pause": lambda here: here.flows.pause(RUN),
    "resume": lambda here: here.flows.resume(RUN),
    "retry": lambda here: here.flows.retry(RUN),
    "fork": _fork,
    "signal": lambda here: here.flows.send_signal(RUN, "go", "from outside"),
    "hook answer": lambda here: here.flows.execute_hook(here.token, "from outside"),
    "emit": lambda here: here.flows.emit_event(RUN, "noted", "from outside"),
    "update_run": lambda here: here.flows.update_run(RUN, tags=["new"], max_events=1_000),
    "set_step_result": lambda here: here.flows.set_step_result(RUN, "by-hand", 1, "a test"),
    "deadline": _time_out,
}


# -- what becomes of it


class Cell:
    """One cell while it is tested."""

    def __init__(self, here: Scene, situation: Situation, action: str) -> None:
        self.here = here
        self.situation = situation
        self.action = action
        self.before: list[str] = []
        self.answer: Any = None
        self.error: ConflictError | None = None

    async def go_on_to(self, status: str) -> Run[Any]:
        """Let the run go on as it would have; return it when it is so far."""
        await self.situation.go_on(self.here)
        run = await self.here.until(lambda run: run.status == status or run.is_over)
        assert run.status == status
        return run

    async def unchanged(self) -> None:
        """Nothing has happened, and the run ends as it would have."""
        await _some_turns()
        assert await self.here.history() == self.before
        run = await self.here.run()
        if not run.is_over and self.situation.end != "paused":
            run = await self.go_on_to(self.situation.end)
            assert "timeout" not in (run.error or "")


async def _some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0.001)


async def _conflict(cell: Cell) -> None:
    assert cell.error is not None
    await cell.unchanged()


async def _no_change(cell: Cell) -> None:
    assert cell.action == "deadline" or cell.answer.run_id == RUN
    await cell.unchanged()


async def _over(cell: Cell) -> None:
    assert cell.answer.status == "cancelled"
    cell.here.gate.set()
    await _some_turns()
    history = await cell.here.history()
    assert history == [*cell.before, "run_cancelled"]


async def _over_child_too(cell: Cell) -> None:
    await _over(cell)
    (child,) = await cell.here.flows.get_child_runs(RUN)
    assert child.status == "cancelled"


async def _undone_first(cell: Cell) -> None:
    assert cell.answer.status == "running"
    cell.here.gate.set()
    assert (await cell.here.over()).status == "cancelled"
    assert cell.here.bodies == ["undo", "undo"]


async def _paused(cell: Cell) -> None:
    await cell.here.until(lambda run: run.status == "paused")
    assert cell.here.bodies in ([], ["flaky"])
    await cell.here.flows.resume(RUN)
    await cell.go_on_to(cell.situation.end)


async def _paused_after_it(cell: Cell) -> None:
    assert cell.answer.status == "running"
    await _some_turns()
    assert (await cell.here.run()).status == "running"
    cell.here.gate.set()
    run = await cell.here.until(lambda run: run.status == "paused")
    assert run.status == "paused"
    assert len(cell.here.bodies) == 1
    await cell.here.flows.resume(RUN)
    assert (await cell.here.over()).status == cell.situation.end


async def _taken_back(cell: Cell) -> None:
    assert cell.answer.status == "running"
    cell.here.gate.set()
    assert (await cell.here.over()).status == "completed"
    assert "run_paused" not in await cell.here.history()


async def _goes_on(cell: Cell) -> None:
    assert cell.answer.status == "running"
    await cell.here.flows.send_signal(RUN, "go")
    assert (await cell.here.over()).status == "completed"


async def _tries_again(cell: Cell) -> None:
    assert (cell.answer.status, cell.answer.attempt) == ("running", 2)
    assert (await cell.here.over()).status == "completed"


async def _new_run(cell: Cell) -> None:
    assert (cell.answer.run_id, cell.answer.created) == ("the-fork", True)
    await _some_turns()
    assert await cell.here.history() == cell.before
    await cell.here.flows.cancel("the-fork")
    if cell.situation.end != "paused":
        await cell.go_on_to(cell.situation.end)


async def _kept(cell: Cell) -> None:
    end = cell.situation.end
    if cell.action == "hook answer":
        (hook,) = await cell.here.flows.get_hooks(RUN)
        assert (hook.state, hook.answer) == ("executed", "from outside")
    if end == "paused":
        await cell.here.flows.resume(RUN)
        end = "completed"
    await cell.go_on_to(end)
    assert ("signal_received" if cell.action == "signal" else "hook_executed") in await cell.here.history()


async def _wakes(cell: Cell) -> None:
    cell.here.gate.set()
    assert (await cell.here.over()).status == "completed"


async def _recorded(cell: Cell) -> None:
    assert cell.answer.seq == len(cell.before) + 1
    assert "noted" in await cell.here.history()
    if cell.situation.end != "paused":
        await cell.go_on_to(cell.situation.end)


async def _changed(cell: Cell) -> None:
    assert (cell.answer.tags, cell.answer.max_events) == (["new"], 1_000)
    await cell.unchanged()
    assert (await cell.here.run()).max_events == 1_000


async def _tags_only(cell: Cell) -> None:
    assert cell.error is not None
    changed = await cell.here.flows.update_run(RUN, tags=["new"])
    assert (changed.tags, changed.max_events) == (["new"], 50_000)
    await cell.unchanged()


async def _set(cell: Cell) -> None:
    assert (await cell.here.history())[-1] == "step_completed"
    await cell.go_on_to(cell.situation.end)


async def _fails(cell: Cell) -> None:
    run = await cell.here.over()
    assert run.status == "failed"
    assert "timeout" in (run.error or "")


async def _undone_fails(cell: Cell) -> None:
    cell.here.gate.set()
    await _fails(cell)
    assert cell.here.bodies == ["undo", "undo"]


async def _not_yet(cell: Cell) -> None:
    await _some_turns()
    assert await cell.here.history() == cell.before
    await cell.go_on_to("completed")


OUTCOMES: Final[dict[str, Callable[[Cell], Awaitable[None]]]] = {
    "conflict": _conflict,
    "no change": _no_change,
    "over": _over,
    "over, child too": _over_child_too,
    "undone first": _undone_first,
    "paused": _paused,
    "paused after it": _paused_after_it,
    "taken back": _taken_back,
    "goes on": _goes_on,
    "tries again": _tries_again,
    "new run": _new_run,
    "kept": _kept,
    "wakes": _wakes,
    "recorded": _recorded,
    "changed": _changed,
    "tags only": _tags_only,
    "set": _set,
    "fails": _fails,
    "undone, fails": _undone_fails,
    "not yet": _not_yet,
}


def test_the_table_has_a_row_for_each_state_and_a_column_for_each_thing_that_can_be_done():
    assert [row[0] for row in ROWS] == list(SITUATIONS)
    assert HEAD[1:] == list(ACTIONS)
    assert {cell for _, _, cell in CELLS} == set(OUTCOMES)


@pytest.mark.parametrize(("state", "action", "outcome"), CELLS, ids=lambda text: text.replace(" ", "-"))
async def test_a_cell(state: str, action: str, outcome: str):
    async with scene() as here:
        cell = Cell(here, SITUATIONS[state], action)
        here.has_deadline = action == "deadline"
        await cell.situation.begin(here)
        cell.before = await here.history()
        try:
            cell.answer = await ACTIONS[action](here)
        except ConflictError as error:
            cell.error = error
        assert (cell.error is not None) == (outcome in ("conflict", "tags only")), f"{cell.error!r}"
        await OUTCOMES[outcome](cell)
