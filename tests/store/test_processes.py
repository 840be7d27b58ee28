"""Several processes on one file: who lives, who is dead, and who migrates."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell.settings import Settings
from stepwell.store.locks import LockFile, NodeLocks
from stepwell.store.migrate import MIGRATIONS
from stepwell.store.sqlite import SqliteStore
from tests.store.acting import Node, SetClock

_PROCESS = """
import asyncio, sys
from pathlib import Path
from stepwell.clock import Clock
from stepwell.settings import Settings
from stepwell.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]), clock=Clock(), settings=Settings())
    await store.open()
    await store.enrol(sys.argv[2], "{}")
    print("enrolled", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await store.close()

asyncio.run(main())
"""


def _process(path: Path, node_id: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PROCESS, str(path), node_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _enrolled(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "enrolled\n"


def _end(process: "subprocess.Popen[str]") -> None:
    process.communicate("\n", timeout=60)


@pytest.fixture
async def node(tmp_path: Path, clock: SetClock):  # type: ignore[no-untyped-def]
    store = SqliteStore(tmp_path / "store.db", clock=clock, settings=Settings())
    await store.open()
    yield await Node(store, "here", clock).enrol()
    await store.close()


async def test_a_killed_process_is_known_to_be_dead_at_once_and_a_living_or_stopped_one_is_not(node: Node, tmp_path: Path):
    processes = {name: _process(tmp_path / "store.db", name) for name in ("killed", "stopped", "living")}
    try:
        for process in processes.values():
            await asyncio.to_thread(_enrolled, process)
        assert await node.store.dead_nodes() == []
        processes["stopped"].send_signal(signal.SIGSTOP)
        processes["killed"].kill()
        await asyncio.to_thread(processes["killed"].wait)
        assert await node.store.dead_nodes() == ["killed"]
        assert (await node.commit(node.bury("killed"), node.free()))[0] == 1
        assert await node.store.dead_nodes() == []
        assert sorted(each.name for each in (tmp_path / "store.db.nodes").iterdir()) == [
            "here.lock", "living.lock", "stopped.lock",
        ]  # fmt: skip
    finally:
        processes["stopped"].send_signal(signal.SIGCONT)
        for process in processes.values():
            await asyncio.to_thread(_end, process)
            process.stdin and process.stdin.close()
            process.stdout and process.stdout.close()


async def test_a_process_that_only_closed_its_store_is_dead_and_one_that_retired_is_gone(
    node: Node, tmp_path: Path, clock: SetClock
):
    for node_id in ("closed", "retired"):
        store = SqliteStore(tmp_path / "store.db", clock=clock, settings=Settings())
        await store.open()
        await store.enrol(node_id, "{}")
        if node_id == "retired":
            await store.retire(node_id)
        await store.close()
    assert await node.store.dead_nodes() == ["closed"]
    assert await node.store.batch_state("retired") is None


async def test_without_a_lock_file_nothing_is_known(node: Node, tmp_path: Path):
    process = _process(tmp_path / "store.db", "killed")
    await asyncio.to_thread(_enrolled, process)
    process.kill()
    await asyncio.to_thread(_end, process)
    (tmp_path / "store.db.nodes" / "killed.lock").unlink()
    assert await node.store.dead_nodes() == []


async def test_processes_that_open_a_new_file_at_once_migrate_it_once(tmp_path: Path, clock: SetClock):
    """Trap 34."""
    processes = [_process(tmp_path / "store.db", f"node-{number}") for number in range(4)]
    for process in processes:
        await asyncio.to_thread(_enrolled, process)
    store = SqliteStore(tmp_path / "store.db", clock=clock, settings=Settings())
    await store.open()
    assert len(await store.live_nodes()) == 4
    applied = store._writer.connection.execute("SELECT count(*) FROM migrations").get
    assert applied == len(MIGRATIONS)
    assert await store.check() == []
    await store.close()
    for process in processes:
        await asyncio.to_thread(_end, process)
        assert process.returncode == 0


def test_a_forked_child_leaves_the_locks_to_its_parent(tmp_path: Path):
    nodes = NodeLocks(tmp_path / "nodes")
    nodes.hold("parent")
    ready, ready_end = os.pipe()
    done_end, done = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(done, b"x")
        os.read(ready, 1)
        os._exit(0)
    os.read(done_end, 1)
    others = NodeLocks(tmp_path / "nodes")
    assert not others.is_gone("parent")
    nodes.close()
    # The child lives, and holds no copy of the descriptor.
    assert others.is_gone("parent")
    os.write(ready_end, b"x")
    os.waitpid(child, 0)
    for descriptor in (ready, ready_end, done_end, done):
        os.close(descriptor)


def test_a_program_started_by_the_process_inherits_no_lock(tmp_path: Path):
    lock = LockFile(tmp_path / "a.lock")
    assert lock.try_acquire()
    code = "print('runs', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, close_fds=False
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "runs\n"
        lock.close()
        other = LockFile(tmp_path / "a.lock", create=False)
        is_free = other.try_acquire()
        other.close()
        program.communicate("\n")
    assert is_free


def test_a_lock_is_one_owners_until_it_is_released(tmp_path: Path):
    one, two = LockFile(tmp_path / "a.lock"), LockFile(tmp_path / "a.lock")
    one.acquire()
    assert not two.try_acquire()
    one.release()
    assert two.try_acquire()
    one.close()
    one.close()
    two.close()
    with pytest.raises(FileNotFoundError):
        LockFile(tmp_path / "none.lock", create=False)


def test_a_node_id_is_held_once(tmp_path: Path):
    one, two = NodeLocks(tmp_path / "nodes"), NodeLocks(tmp_path / "nodes")
    one.hold("a")
    assert not one.is_gone("a")
    assert not two.is_gone("a")
    with pytest.raises(BlockingIOError):
        two.hold("a")
    one.drop("a")
    assert not two.is_gone("a")
    two.hold("a")
    two.close()
