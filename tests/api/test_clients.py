"""Clients: where they connect, who may use them, and how they end. Blocking ones, and those in a loop that runs already."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from stepwell import (
    AsyncClient,
    Client,
    Context,
    NotFoundError,
    RunFailed,
    Settings,
    UnavailableError,
    ValidationError,
    step,
    workflow,
)
from stepwell.errors import CorruptStoreError
from tests.clients import PATIENCE_S


@workflow("clients-echo")
async def echo(ctx: Context, input: Any) -> Any:
    return await step("echo", lambda: input)()


@workflow("clients-wait")
async def waits(ctx: Context) -> Any:
    return await ctx.wait_for_signal("go")


@workflow("clients-fail")
async def fails(ctx: Context) -> None:
    raise ValueError("no")


# -- where


@pytest.mark.parametrize(
    "url",
    [
        "memory", "memory:/", "memory://x", "sqlite:", "sqlite://", "sqlite:///", "sqlite://app.db", "sqlite://host/app.db",
        "sqlite:///app.db?mode=ro", "sqlite:///app.db#x", "app.db", "/var/app.db", "mysql://host/db", "://", " ", "sqlite:///a\0b",
        "sqlite:///a%00b", "http://[", Path("app.db"),
        7, True,
    ],
)  # fmt: skip
def test_a_url_that_names_nothing_is_refused_with_the_forms_that_do(url: Any):
    with pytest.raises(ValidationError, match="memory://") as refused:
        AsyncClient(url)
    assert refused.value.field == "url"


def test_a_password_in_a_url_is_not_repeated_in_the_error():
    with pytest.raises(ValidationError) as refused:
        AsyncClient("mysql://user:secret@host/db")
    assert "secret" not in str(refused.value)


async def test_a_relative_file_is_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    async with AsyncClient("sqlite:///deep/er/app.db") as client:
        await client.workflow.trigger(echo)
    assert (tmp_path / "deep/er/app.db").exists()


async def test_without_a_url_there_is_a_file_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    async with AsyncClient() as client:
        await client.workflow.trigger(echo)
    assert (tmp_path / ".stepwell/stepwell.db").exists()


async def test_the_environment_says_where_if_the_caller_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEPWELL_URL", f"sqlite:///{tmp_path}/environment.db")
    async with AsyncClient() as client:
        await client.workflow.trigger(echo)
    async with AsyncClient(f"sqlite:///{tmp_path}/argument.db"):
        pass
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["argument.db", "environment.db"]


async def test_settings_come_from_the_environment_and_bad_ones_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEPWELL_MAX_EVENTS", "7")
    async with AsyncClient("memory://") as client:
        assert (await client.workflow.trigger(echo)).max_events == 7
    for value in ("two", "2", "-1", "1e3", ""):
        monkeypatch.setenv("STEPWELL_MAX_EVENTS", value)
        with pytest.raises(ValidationError, match="STEPWELL_MAX_EVENTS"):
            AsyncClient("memory://")


@pytest.mark.parametrize("name", ["with space.db", "gr\u00f6\u00dfe.db", "per%20cent.db", "a;b.db", "'quote\".db"])
async def test_any_file_name_will_do(tmp_path: Path, name: str):
    async with AsyncClient(f"sqlite:///{tmp_path}/{quote(name)}") as client:
        await client.workflow.trigger(echo)
    assert (tmp_path / name).exists()


# -- opening and closing


async def test_a_client_opens_on_first_use_and_closes_once(file_url: str):
    client = AsyncClient(file_url)
    run = await client.workflow.trigger(echo, 1)
    await client.close()
    await client.close()
    with pytest.raises(UnavailableError, match="closed"):
        await client.workflow.get_run(run.run_id)
    again = AsyncClient(file_url)
    assert (await again.workflow.get_run(run.run_id)).input == 1
    await again.close()


async def test_a_client_that_was_never_used_closes_too(file_url: str):
    client = AsyncClient(file_url)
    await client.close()
    with pytest.raises(UnavailableError, match="closed"):
        await client.workflow.stats()


async def test_many_first_calls_at_once_open_it_once(file_url: str):
    client = AsyncClient(file_url)
    await asyncio.gather(*(client.workflow.trigger(echo, number) for number in range(50)))
    assert (await client.workflow.stats()).nodes == 1
    await client.close()


async def test_a_first_call_that_is_cancelled_does_not_spoil_the_client(file_url: str):
    client = AsyncClient(file_url)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await client.workflow.stats()
    assert (await client.workflow.stats()).nodes == 1
    await client.close()


async def test_closing_wakes_who_waits(file_url: str):
    client = AsyncClient(file_url)
    run = await client.workflow.trigger("clients-nobody")
    waiting = asyncio.create_task(client.workflow.wait(run.run_id))
    streaming = asyncio.create_task(_drain(client, run.run_id))
    await asyncio.sleep(0.01)
    await client.close()
    for task in (waiting, streaming):
        with pytest.raises(UnavailableError, match="closed"):
            await asyncio.wait_for(task, PATIENCE_S)


async def _drain(client: AsyncClient, run_id: str) -> None:
    async for _ in client.workflow.stream_events(run_id):
        pass


async def test_a_store_that_cannot_be_opened_can_be_tried_again(tmp_path: Path):
    path = tmp_path / "app.db"
    path.write_bytes(b"this is no database, but as long as a header of one would be, and then some more" * 10)
    client = AsyncClient(f"sqlite:///{path}")
    for _ in range(2):
        with pytest.raises(CorruptStoreError):
            await client.workflow.stats()
    path.unlink()
    assert (await client.workflow.stats()).nodes == 1
    await client.close()


async def test_leaving_a_client_hands_back_what_its_worker_holds(file_url: str):
    async with AsyncClient(file_url) as client:
        worker = client.worker(waits)
        await worker.__aenter__()
        run = await client.workflow.trigger(waits)
        await asyncio.sleep(0)
    async with AsyncClient(file_url) as client, client.worker(waits):
        await client.workflow.send_signal(run.run_id, "go", "handed over")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "handed over"
        assert (await client.workflow.get_run(run.run_id)).interruptions == 0
    await worker.__aexit__(None, None, None)


# -- two clients, one file


async def test_two_clients_on_one_file_share_the_work_and_see_each_other(file_url: str):
    # promise 4, promise 6
    @workflow("clients-shared")
    async def wf(ctx, input):
        got = [await step("one", lambda: input)()]
        got.append(await ctx.wait_for_signal("go"))
        got.append(await step("two", lambda: input)())
        return got

    async with AsyncClient(file_url) as one, AsyncClient(file_url) as two:
        async with one.worker(wf, concurrency=10), two.worker(wf, concurrency=10):
            runs = [await (one if number % 2 else two).workflow.trigger(wf, number) for number in range(40)]
            await asyncio.gather(
                *((two if number % 2 else one).workflow.send_signal(run.run_id, "go", "x") for number, run in enumerate(runs))
            )
            for number, run in enumerate(runs):
                other = one if number % 3 else two
                assert await other.workflow.result(run.run_id, PATIENCE_S) == [number, "x", number]
                kinds = [event.event_type for event in await other.workflow.get_events(run.run_id)]
                assert (kinds.count("step_completed"), kinds.count("signal_received"), kinds.count("run_completed")) == (2, 1, 1)
        assert await one.check_store() == []
        assert (await one.workflow.stats()).nodes == 2


async def test_what_another_client_does_to_a_run_is_seen_here(file_url: str):
    # promise 9
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @workflow("clients-cancelled")
    async def wf(ctx):
        await step("hang", hang)()

    async with AsyncClient(file_url) as one, AsyncClient(file_url) as two, one.worker(wf):
        run = await one.workflow.trigger(wf)
        await entered.wait()
        waiting = asyncio.create_task(one.workflow.wait(run.run_id, PATIENCE_S))
        streaming = asyncio.create_task(_kinds(one, run.run_id))
        assert (await two.workflow.cancel(run.run_id)).status == "cancelled"
        await asyncio.wait_for(cancelled.wait(), PATIENCE_S)
        assert (await waiting).status == "cancelled"
        assert (await streaming)[-1] == "run_cancelled"


async def _kinds(client: AsyncClient, run_id: str) -> list[str]:
    return [event.event_type async for event in client.workflow.stream_events(run_id)]


async def test_a_run_triggered_by_one_client_runs_in_the_worker_of_another(file_url: str):
    async with AsyncClient(file_url) as one, AsyncClient(file_url) as two, two.worker(echo):
        run = await one.workflow.trigger(echo, "over there")
        assert await one.workflow.result(run.run_id, PATIENCE_S) == "over there"


# -- blocking


def test_a_blocking_script(file_url: str):
    with Client(file_url) as client, client.worker(echo, waits, fails):
        run = client.workflow.trigger(echo, {"a": 1}, tags=["x"])
        assert client.workflow.result(run, 30) == {"a": 1}
        assert client.workflow.get_run(run.run_id).status == "completed"
        assert [found.run_id for found in client.workflow.get_runs(echo)] == [run.run_id]
        assert [found.run_id for found in client.workflow.iter_runs(echo, tags=["x"])] == [run.run_id]
        kinds = [event.event_type for event in client.workflow.get_events(run.run_id)]
        assert kinds == ["run_created", "run_started", "step_completed", "run_completed"]
        assert [event.event_type for event in client.workflow.stream_events(run.run_id)] == kinds

        waiting = client.workflow.trigger(waits)
        client.workflow.emit_event(waiting.run_id, "mine", 1)
        client.workflow.send_signal(waiting.run_id, "go", "went")
        assert client.workflow.wait(waiting.run_id, "30s").output == "went"
        assert client.workflow.signal_with_start(waits, None, "go", 1, run_id="cart").run_id == "cart"
        assert client.workflow.result("cart", 30) == 1

        with pytest.raises(RunFailed, match="ValueError: no"):
            client.workflow.result(client.workflow.trigger(fails), 30)
        with pytest.raises(NotFoundError):
            client.workflow.get_run("nobody")
        other = client.workflow.trigger("clients-nobody")
        assert "start one" in client.workflow.why(other.run_id)
        assert client.workflow.cancel(other.run_id, reason="enough").cancel_reason == "enough"
        with pytest.raises(TimeoutError):
            client.workflow.wait(client.workflow.trigger("clients-nobody").run_id, 0.01)
        assert client.workflow.stats().runs["completed"] == 3
        assert client.check_store() == []
    with pytest.raises(UnavailableError, match="closed"):
        client.workflow.stats()
    client.close()


def test_a_blocking_client_may_be_used_by_many_threads():
    with Client("memory://") as client, client.worker(echo):
        results: list[Any] = []

        def work(number: int) -> None:
            results.append(client.workflow.result(client.workflow.trigger(echo, number), 30))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == list(range(20))


@pytest.mark.usefixtures("may_block_the_loop")
async def test_a_blocking_client_works_where_a_loop_runs_already():
    with Client("memory://", settings=Settings()) as client, client.worker(echo):
        assert client.workflow.result(client.workflow.trigger(echo, "as in a notebook"), 30) == "as in a notebook"


def test_a_script_that_never_closes_its_client_ends_all_the_same(tmp_path: Path):
    script = """
        from stepwell import Client, step, workflow

        @workflow("script")
        async def wf(ctx, input):
            return await step("double", lambda: 2 * input)()

        client = Client("sqlite:///script.db")
        worker = client.worker(wf)
        worker.__enter__()
        print(client.workflow.result(client.workflow.trigger(wf, 21), 30))
    """
    done = _run_script(script, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


def test_a_cell_of_a_notebook_works_in_the_loop_that_runs_already(tmp_path: Path):
    # Jupyter runs each cell as a coroutine on one loop, and what a cell leaves open lives on in the next.
    script = """
        import ast, asyncio, inspect

        cells = [
            "from stepwell import AsyncClient, step, workflow\\nclient = AsyncClient('sqlite:///notebook.db')",
            "@workflow('cell')\\nasync def wf(ctx, input):\\n    return await step('one', lambda: input + 1)()",
            "worker = client.worker(wf)\\nawait worker.__aenter__()",
            "run = await client.workflow.trigger(wf, 1)\\nprint(await client.workflow.result(run, 30))",
            "@workflow('cell')\\nasync def wf(ctx, input):\\n    return await step('one', lambda: input + 100)()",
            "await worker.__aexit__(None, None, None)\\nworker = client.worker(wf)\\nawait worker.__aenter__()",
            "run = await client.workflow.trigger(wf, 1)\\nprint(await client.workflow.result(run, 30))",
        ]

        async def notebook():
            namespace = {"__name__": "__main__"}
            for cell in cells:
                code = compile(cell, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                result = eval(code, namespace)
                if inspect.isawaitable(result):
                    await result
            await namespace["worker"].__aexit__(None, None, None)
            await namespace["client"].close()

        asyncio.run(notebook())
    """
    done = _run_script(script, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n101\n", "")


def _run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


# -- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_client_used_after_a_fork_says_so_and_the_parents_goes_on(tmp_path: Path):
    script = """
        import asyncio, os
        from stepwell import AsyncClient, Client, ForkedClientError, step, workflow

        @workflow("forked")
        async def wf(ctx, input):
            return await step("one", lambda: input)()

        def forked(check):
            child = os.fork()
            if child == 0:
                try:
                    check()
                except ForkedClientError as error:
                    os._exit(0 if "fork" in str(error) and error.code == "forked_client" else 3)
                os._exit(4)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        with Client("sqlite:///forked.db") as client:
            print(forked(lambda: client.workflow.trigger(wf, 1)), forked(lambda: client.workflow.stats()))
            with client.worker(wf):
                print(client.workflow.result(client.workflow.trigger(wf, "parent"), 30))

        async def main():
            def ask():
                # A loop of the child's own: the parent's is not to be used here.
                asyncio.events._set_running_loop(None)
                asyncio.new_event_loop().run_until_complete(client.workflow.trigger(wf, 1))

            async with AsyncClient("sqlite:///forked.db") as client, client.worker(wf):
                print(forked(ask))
                run = await client.workflow.trigger(wf, "parent")
                print(await client.workflow.result(run, 30), await client.check_store())

        asyncio.run(main())
    """
    done = _run_script(script, tmp_path)
    assert done.stdout == "0 0\nparent\n0\nparent []\n", done.stderr
    assert done.returncode == 0
