"""Steps that ask their process to end, and what a worker in a process of its own does then."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stepwell import Client, step, workflow
from tests.clients import PATIENCE_S

HEAD = """
    import asyncio, sys
    from stepwell import AsyncClient, Client, WorkflowWorker, step, workflow

    def leave():
        raise {error}

    async def leave_async():
        raise {error}

    @workflow("leaving")
    async def wf(ctx):
        await step("before", lambda: print("before", flush=True))()
        await step("leave", {body})()
"""
BLOCKING = """
    with Client("sqlite:///leaving.db") as client, client.worker(wf):
        client.workflow.wait(client.workflow.trigger(wf, run_id="leaving").run_id)
"""
RUN_WORKER = """
    client = Client("sqlite:///leaving.db")
    client.workflow.trigger(wf, run_id="leaving")
    client.run_worker()
"""
IN_A_LOOP = """
    async def main():
        async with AsyncClient("sqlite:///leaving.db") as client, client.worker(wf):
            await client.workflow.wait((await client.workflow.trigger(wf, run_id="leaving")).run_id)

    asyncio.run(main())
"""
WORKER_RUN = """
    async def main():
        async with AsyncClient("sqlite:///leaving.db") as client:
            await client.workflow.trigger(wf, run_id="leaving")
            await WorkflowWorker(client).run()

    asyncio.run(main())
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
ERRORS = {"SystemExit(7)": 7, "KeyboardInterrupt()": -signal.SIGINT}


@pytest.mark.parametrize("program", [BLOCKING, RUN_WORKER, IN_A_LOOP, WORKER_RUN], ids=["with", "run_worker", "loop", "run"])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("body", ["leave", "leave_async"])
def test_a_step_that_ends_its_process_ends_it_cleanly_and_its_run_goes_on_elsewhere(
    tmp_path: Path, program: str, error: str, body: str
):
    # trap 4, promise 12
    script = textwrap.dedent(HEAD).format(error=error, body=body) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "before\n"
    assert done.returncode == ERRORS[error], done.stderr

    @workflow("leaving")
    async def wf(ctx):
        await step("before", lambda: "again")()
        return await step("leave", lambda: "stayed")()

    with Client(f"sqlite:///{tmp_path}/leaving.db") as client, client.worker(wf):
        assert client.workflow.result("leaving", PATIENCE_S) == "stayed"
        run = client.workflow.get_run("leaving")
        assert run.interruptions == 0, "it was handed back, not lost"
        completed = [event for event in client.workflow.get_events("leaving") if event.event_type == "step_completed"]
        assert [event.payload["result"] for event in completed] == [None, "stayed"]
        assert client.check_store() == []
