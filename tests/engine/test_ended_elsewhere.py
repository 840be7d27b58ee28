"""A run that ends while a session of this node holds it, by a commit that the session knows nothing of."""

import asyncio
from pathlib import Path

from stepwell import AsyncClient, Context, WorkflowWorker, workflow
from stepwell.engine.embedded import EmbeddedEngine
from stepwell.failpoints import counters
from stepwell.store.base import Cancel


@workflow("ended-elsewhere")
async def asleep(ctx: Context) -> None:
    await ctx.sleep("50ms")
    await ctx.wait_for_signal("never")


async def test_who_waits_for_a_held_run_hears_of_its_end_when_its_session_is_refused(tmp_path: Path) -> None:
    async with AsyncClient(f"sqlite:///{tmp_path / 'app.db'}") as client, WorkflowWorker(client) as worker:
        await worker.start(asleep)
        run = await client.workflow.trigger(asleep)
        engine = await client.engine()
        assert isinstance(engine, EmbeddedEngine)
        assert engine.holder(run.run_id) is not None
        waiting = asyncio.ensure_future(client.workflow.wait(run.run_id, timeout=30))
        # Not by the engine's own cancel, which tells the session: a cancel that overtakes a claim finds none to tell.
        refused = counters["refused.guard"]
        await engine.submit(Cancel(run_id=run.run_id, reason=None, payload='{"reason":null}', at_ms=engine.store.now_ms()))
        assert (await waiting).status == "cancelled"
        assert counters["refused.guard"] == refused + 1
