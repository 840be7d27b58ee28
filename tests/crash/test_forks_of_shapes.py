"""Every shape of the corpus that needs no driver, forked at every event: each fork ends as its source did."""

from pathlib import Path
from typing import Final

import pytest

from stepwell import AsyncClient, ConflictError, Settings, ValidationError, WorkflowWorker
from stepwell.execution.histories import assignment_of
from stepwell.execution.rehearsal import rehearse
from tests.crash import forked, undone
from tests.crash import world as here
from tests.crash.lives import end_of
from tests.crash.shapes import RUN, SHAPES, nobody

assert undone.SHAPES is forked.SHAPES is SHAPES

OTHERWISE: Final = {
    "records-written-in-body": "records are everybody's: what one run has made the other finds there",
    "thousand-steps": "a thousand times the same",
    "large-results": "nothing but large",
}
UNDRIVEN: Final = [name for name, shape in SHAPES.items() if shape.drive is nobody and name not in OTHERWISE]


@pytest.mark.parametrize("name", UNDRIVEN)
async def test_a_fork_at_any_event_ends_as_its_source_did_and_both_fit_the_code(name: str, tmp_path: Path):
    # promise 5
    shape, world = SHAPES[name], here.new_world()
    async with AsyncClient(f"sqlite:///{tmp_path / 'app.db'}", settings=Settings(step_started_ms=60_000)) as client:
        world.begin_life(client)
        worker = WorkflowWorker(client)
        await worker.start(shape.workflow, "child-of-a-shape", "failing-child-of-a-shape")
        await client.workflow.trigger(shape.workflow, run_id=RUN)
        source = await client.workflow.wait(RUN, 30)
        events = await client.workflow.get_events(RUN)
        made = 0
        for at in (None, *range(1, len(events) + 1)):
            try:
                fork = await client.workflow.fork(RUN, at)
            except (ValidationError, ConflictError):
                continue  # the end, what was undone, or no room
            made += 1
            ended = await client.workflow.wait(fork.run_id, 30)
            assert ended.status == source.status, at
            assert end_of(ended) in (end_of(source), *shape.ends), at
            history = await client.workflow.get_events(fork.run_id)
            assert (await rehearse(assignment_of(ended, history), shape.workflow.execute, client.workflow)).fits, at
        assert made >= 2
        assert (await rehearse(assignment_of(source, events), shape.workflow.execute, client.workflow)).findings == []
        await worker.stop()
        assert await client.check_store() == []
