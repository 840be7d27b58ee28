"""Files that cannot be used, and disks that fail: said in plain words, nothing lost, and no word of SQLite's."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import apsw
import pytest

from stepwell import AsyncClient, Client, Context, Settings, UnavailableError, step, workflow
from stepwell.errors import CorruptStoreError
from tests.clients import PATIENCE_S


@workflow("stores-echo")
async def echo(ctx: Context, input: str) -> str:
    return await step("echo", lambda: input)()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


async def filled(path: Path, count: int = 20) -> None:
    async with AsyncClient(f"sqlite:///{path}") as client, client.worker(echo):
        for number in range(count):
            await client.workflow.result(await client.workflow.trigger(echo, str(number) * 500), PATIENCE_S)


async def refused(path: Path, words: str) -> None:
    """Opening says so, each time, and does not change the file."""
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(CorruptStoreError, match=words) as error:
            async with AsyncClient(f"sqlite:///{path}"):
                pass
        assert path.name in str(error.value)
        assert error.value.code == "corrupt_store"
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"no database at all, whatever its name " * 200, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 4096]
)
async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes):
    path.write_bytes(content)
    await refused(path, "not a SQLite database|damaged")


async def test_a_database_of_another_program_is_refused_and_left_alone(path: Path):
    foreign = apsw.Connection(str(path))
    foreign.execute("CREATE TABLE runs (mine TEXT); INSERT INTO runs VALUES ('keep me')")
    foreign.close()
    await refused(path, "not one of stepwell")


async def test_a_database_of_a_newer_stepwell_is_refused_and_left_alone(path: Path):
    # trap 34
    await filled(path, 1)
    future = apsw.Connection(str(path))
    future.pragma("user_version", 9_999)
    future.close()
    await refused(path, "newer stepwell.*upgrade")


async def test_a_damaged_database_says_so_and_is_never_believed(path: Path):
    await filled(path)
    content = bytearray(path.read_bytes())
    for start in range(4096 * 2, len(content), 4096):
        content[start : start + 512] = os.urandom(512)
    path.write_bytes(content)

    async def use() -> None:
        async with AsyncClient(f"sqlite:///{path}", settings=Settings(patience_ms=500)) as client:
            await client.workflow.trigger(echo, "x")
            async for _ in client.workflow.iter_runs(include=("input", "output")):
                pass

    with pytest.raises(CorruptStoreError, match="damaged"):
        await use()


async def test_an_empty_file_is_a_new_database(path: Path):
    path.touch()
    await filled(path, 1)


async def test_a_folder_in_place_of_the_file_is_refused(path: Path):
    path.mkdir()
    with pytest.raises(UnavailableError, match=r"app\.db"):
        async with AsyncClient(f"sqlite:///{path}"):
            pass


def test_a_blocking_client_says_the_same(path: Path):
    path.write_bytes(b"no database at all, whatever its name " * 200)
    client = Client(f"sqlite:///{path}")
    for _ in range(2):
        with pytest.raises(CorruptStoreError):
            client.workflow.stats()
    client.close()


async def test_a_file_that_another_program_has_locked_is_waited_for(path: Path):
    await filled(path, 1)
    foreign = apsw.Connection(str(path))
    async with AsyncClient(f"sqlite:///{path}") as client, client.worker(echo):
        foreign.execute("BEGIN IMMEDIATE")
        triggered = asyncio.create_task(client.workflow.trigger(echo, "patient"))
        await asyncio.sleep(0.4)
        assert not triggered.done()
        assert len(await client.workflow.get_runs(echo)) == 1, "reading goes on"
        foreign.execute("ROLLBACK")
        assert await client.workflow.result(await triggered, PATIENCE_S) == "patient"
    foreign.close()


async def test_a_file_that_stays_locked_is_unavailable_in_our_words_and_nothing_was_done(path: Path):
    await filled(path, 1)
    foreign = apsw.Connection(str(path))
    async with AsyncClient(f"sqlite:///{path}", settings=Settings(patience_ms=100)) as client:
        foreign.execute("BEGIN IMMEDIATE")
        for call in (client.workflow.trigger(echo, "x", run_id="mine"), client.workflow.cancel("nobody")):
            with pytest.raises(UnavailableError) as error:
                await call
            assert "locked" not in str(error.value)
            assert "another program" in str(error.value)
            assert error.value.outcome_known
        foreign.execute("ROLLBACK")
        assert len(await client.workflow.get_runs()) == 1
        assert (await client.workflow.trigger(echo, "x", run_id="mine")).created
        assert await client.check_store() == []
    foreign.close()


async def test_a_file_that_another_program_has_locked_can_be_opened_once_it_is_free(path: Path):
    await filled(path, 1)
    foreign = apsw.Connection(str(path))
    foreign.execute("BEGIN IMMEDIATE")
    client = AsyncClient(f"sqlite:///{path}", settings=Settings(patience_ms=100))
    with pytest.raises(UnavailableError, match="another program") as error:
        await client.workflow.stats()
    assert "locked" not in str(error.value)
    foreign.execute("ROLLBACK")
    assert (await client.workflow.stats()).runs["completed"] == 1
    await client.close()
    foreign.close()


async def test_runs_go_on_when_a_lock_in_the_middle_of_them_is_gone(path: Path):
    # promise 2
    entered, release = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    async def body() -> None:
        calls.append(1)
        entered.set()
        await release.wait()

    @workflow("stores-lock")
    async def wf(ctx):
        for _ in range(3):
            await step("body", body)()
        return len(calls)

    await filled(path, 1)
    foreign = apsw.Connection(str(path))
    async with AsyncClient(f"sqlite:///{path}") as client, client.worker(wf):
        run = await client.workflow.trigger(wf)
        await entered.wait()
        foreign.execute("BEGIN IMMEDIATE")
        release.set()
        await asyncio.sleep(0.3)
        assert calls == [1], "no body starts before what it rests on is committed"
        foreign.execute("ROLLBACK")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == 3
    foreign.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit here")
def test_a_full_disk_is_unavailable_reads_go_on_and_so_do_writes_once_there_is_room(tmp_path: Path):
    # trap 35, promise 1
    script = """
        import asyncio, os, resource
        from stepwell import AsyncClient, Settings, UnavailableError, step, workflow

        @workflow("full")
        async def wf(ctx, input):
            return len(await step("one", lambda: input)())

        async def main():
            async with AsyncClient("sqlite:///full.db", settings=Settings(patience_ms=300)) as client, client.worker(wf):
                kept = await client.workflow.trigger(wf, "first")
                print(await client.workflow.result(kept, 30))
                used = os.path.getsize("full.db-wal")
                resource.setrlimit(resource.RLIMIT_FSIZE, (used + 4096, resource.RLIM_INFINITY))
                for attempt in range(2):
                    try:
                        await client.workflow.trigger(wf, "x" * 500_000, run_id="large")
                    except UnavailableError as error:
                        print("refused:", error.outcome_known, "disk" in str(error) or "writing failed" in str(error))
                print((await client.workflow.get_run(kept.run_id)).output, len(await client.workflow.get_runs()))
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                run = await client.workflow.trigger(wf, "x" * 500_000, run_id="large")
                print(run.created, await client.workflow.result(run, 30), await client.check_store())

        asyncio.run(main())
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout == "5\nrefused: True True\nrefused: True True\n5 1\nTrue 500000 []\n", done.stderr
    assert done.returncode == 0
