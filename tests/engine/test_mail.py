"""How messages reach runs that a worker holds."""

from pathlib import Path

from stepwell import AsyncClient, Settings, workflow


@workflow("mail-wait")
async def wait(ctx):
    return await ctx.wait_for_signal("go")


async def test_a_repetition_with_another_payload_does_not_take_the_place_of_a_message_that_is_on_its_way(tmp_path: Path):
    # promise 6: twice with one id counts once, and it is the first that counts.
    url = f"sqlite:///{tmp_path / 'app.db'}"
    deaf = Settings(watch_ms=60_000, poll_ms=60_000)
    async with AsyncClient(url, settings=deaf) as here, AsyncClient(url) as elsewhere:
        async with here.worker(wait):
            run = await here.workflow.trigger(wait)
            await elsewhere.workflow.send_signal(run.run_id, "go", "first", signal_id="one")
            await here.workflow.send_signal(run.run_id, "go", "second", signal_id="one")
            assert await here.workflow.result(run.run_id, timeout=30) == "first"
