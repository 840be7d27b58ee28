"""Somebody has edited the file by hand."""

from pathlib import Path

import apsw
import pytest

from stepwell import AsyncClient, Settings, step, workflow


@workflow("unreadable")
async def waits(ctx):
    first = await step("first", lambda: 1)()
    return [first, await ctx.wait_for_signal("go")]


EDITS = {
    "the result of a step": "UPDATE events SET payload = '{\"result\":' WHERE run_id = 'broken' AND type = 'step_completed'",
    "the input": "UPDATE events SET payload = 'x' WHERE run_id = 'broken' AND type = 'run_created'",
    "a message": "UPDATE messages SET payload = '{' WHERE run_id = 'broken'",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
async def test_one_run_that_cannot_be_read_waits_with_the_reason_and_harms_no_other(edit: str, tmp_path: Path):
    # promise 13, trap 11
    path = tmp_path / "app.db"
    settings = Settings(keep_ms=0)
    async with AsyncClient(f"sqlite:///{path}", settings=settings) as client:
        async with client.worker(waits):
            for run_id in ("broken", "whole"):
                await client.workflow.trigger(waits, run_id=run_id)
                async for event in client.workflow.stream_events(run_id):
                    if event.event_type == "step_completed":
                        break
        for run_id in ("broken", "whole"):
            await client.workflow.send_signal(run_id, "go", "on")
    connection = apsw.Connection(str(path))
    connection.execute(edit)
    connection.close(True)
    async with AsyncClient(f"sqlite:///{path}", settings=settings) as client, client.worker(waits):
        assert await client.workflow.result("whole", timeout=30) == [1, "on"]
        run = await client.workflow.get_run("broken")
        while run.waiting_for is None or run.waiting_for.kind != "code":
            async for _ in client.workflow.stream_events("whole"):
                pass
            run = await client.workflow.get_run("broken")
        assert run.status == "running"
        assert "read" in (run.error or "")
        assert {item.run_id for item in await client.workflow.get_runs()} == {"broken", "whole"}
        assert "read" in await client.workflow.why("broken")
        assert (await client.workflow.cancel("broken")).status == "cancelled"
