"""What is so only because the store is a SQLite file: whose file it is, what happens when it fails, and threads."""

import asyncio
import os
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from stepwell import failpoints
from stepwell.errors import CorruptStoreError, FencedError, UnavailableError
from stepwell.progress import Recorded
from stepwell.settings import Settings
from stepwell.store.base import BatchState, NotApplied, OutcomeUnknown, RunQuery
from stepwell.store.hints import Hint
from stepwell.store.migrate import MIGRATIONS
from stepwell.store.sqlite import SqliteStore
from tests.store.acting import Node, SetClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@asynccontextmanager
async def opened(path: Path | None, clock: SetClock, **settings: int) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock=clock, settings=Settings(**settings))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_file_and_folders_are_made_for_this_user_alone(tmp_path: Path, clock: SetClock):
    path = tmp_path / "new" / "folder" / "store.db"
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.do(node.new("run"))
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in [path.parent.parent, *path.parent.rglob("*")]}
    modes.pop("folder", None)
    assert {name for name in modes if name.startswith("store.db")} == {
        "store.db", "store.db-wal", "store.db-shm", "store.db.writer", "store.db.nodes",
    }  # fmt: skip
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes


async def test_what_was_committed_is_there_after_reopening(path: Path, clock: SetClock):
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.start("run")
    async with opened(path, clock) as store:
        assert (await store.statuses(["run"])) == {"run": 1}
        assert await store.check() == []


async def test_a_commit_is_synced(path: Path, clock: SetClock):
    async with opened(path, clock) as store:
        connection = store._writer.connection
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2


async def test_two_stores_on_one_file_see_each_others_commits(path: Path, clock: SetClock):
    async with opened(path, clock) as first, opened(path, clock) as second:
        one, two = await Node(first, "one", clock).enrol(), await Node(second, "two", clock).enrol()
        await one.start("run")
        assert (await two.do(two.put("run"))).owner == "one"
        assert (await two.do(two.emit("run"))).seq == 3
        assert await one.do(one.progress("run", one.event(), suspend=None)) == Recorded(4, 1, True)
        await two.do(two.cancel("run"))
        assert (await one.do(one.progress("run", one.event()))).reason == "guard"
        await two.do(two.bury("one"))
        with pytest.raises(FencedError):
            await one.commit()


async def test_two_stores_write_at_the_same_time_and_none_is_told_that_the_file_is_locked(path: Path, clock: SetClock):
    async with opened(path, clock) as first, opened(path, clock) as second:
        nodes = [await Node(first, "one", clock).enrol(), await Node(second, "two", clock).enrol()]

        async def write(node: Node) -> None:
            for number in range(100):
                await node.do(node.new(f"{node.node_id}-{number}"))

        await asyncio.gather(*map(write, nodes))
        assert await first.count_by_status() == {0: 200}


async def test_another_process_is_noticed_when_it_commits_and_not_when_it_only_renews(path: Path, clock: SetClock):
    async with opened(path, clock, watch_ms=1) as first, opened(path, clock) as second:
        one, two = await Node(first, "one", clock).enrol(), await Node(second, "two", clock).enrol()
        changed = asyncio.Event()
        hints: list[str] = []

        def hint(_: Hint) -> None:
            hints.append("changed")
            changed.set()

        first.watch(hint)
        await one.commit(one.new("own"))
        assert hints == []
        two.lease_ms = 300
        await two.do(two.new("foreign"))
        await changed.wait()
        clock.advance(150)
        before = second.lease_until_boot_ms
        await _until(lambda: second.lease_until_boot_ms > before, second)
        for number in range(20):
            clock.advance(1)
            await one.do(one.new(f"own-{number}"))
        assert hints == ["changed"]
        changed.clear()
        await two.do(two.new("again"))
        await changed.wait()


async def test_the_lease_is_renewed_while_the_event_loop_is_blocked(path: Path, clock: SetClock):
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        node.lease_ms = 300
        await node.commit()
        before = store.lease_until_boot_ms
        clock.advance(150)
        renewed = threading.Event()
        failpoints.armed["renew.after_commit"] = renewed.set
        assert renewed.wait(30), "nobody renewed"  # blocks the loop
        failpoints.armed.clear()
        await store.batch_state("node")
        await node.commit()
        assert store.lease_until_boot_ms == before + 150


async def test_a_buried_node_is_not_renewed_and_learns_it_at_its_next_commit(path: Path, clock: SetClock):
    async with opened(path, clock) as store, opened(path, clock) as other:
        node = await Node(store, "node", clock).enrol()
        killer = await Node(other, "killer", clock).enrol()
        node.lease_ms = 300
        await node.commit()
        await killer.do(killer.bury("node"))
        clock.advance(200)
        await _until(lambda: store.lease_until_boot_ms == 0, store)
        with pytest.raises(FencedError):
            await node.commit()


@pytest.mark.parametrize("point", ["commit.before_begin", "commit.before_write", "commit.before_commit"])
async def test_a_failure_before_the_commit_applies_nothing_and_the_next_batch_goes_on(path: Path, clock: SetClock, point: str):
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.start("run")
        failpoints.armed[point] = _fail_once(point, apsw.FullError("database or disk is full"))
        with pytest.raises(NotApplied, match="disk is full"):
            await node.commit(node.new("lost"), node.progress("run", node.event()))
        assert await store.find_run("lost") is None
        assert await node.do(node.progress("run", node.event())) == Recorded(3, 0, True)
        assert await store.check() == []


async def test_after_a_commit_whose_answer_was_lost_the_store_tells_that_it_was_applied(path: Path, clock: SetClock):
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.start("run")
        failpoints.armed["commit.after_commit"] = _fail_once("commit.after_commit", OSError("the line went dead"))
        with pytest.raises(OutcomeUnknown):
            await node.commit(node.progress("run", node.event()))
        assert await store.batch_state("node") == BatchState(True, 2, "node-1")
        node.number = 2
        assert await node.do(node.progress("run", node.event())) == Recorded(4, 0, True)


async def test_after_a_failed_sync_the_outcome_is_unknown_and_the_store_is_opened_again(path: Path, clock: SetClock):
    """Trap 35."""
    failing = FailingSync()
    try:
        async with opened(path, clock) as store:
            node = await Node(store, "node", clock).enrol()
            await node.start("run")
            before = store._writer.connection
            failing.armed = True
            with pytest.raises(OutcomeUnknown):
                await node.commit(node.progress("run", node.event()))
            failing.armed = False
            state = await store.batch_state("node")
            assert state is not None
            assert state.number in (1, 2)
            node.number = state.number
            recorded = await node.do(node.progress("run", node.event()))
            assert recorded.seq == 2 + state.number
            assert store._writer.connection is not before
            assert await store.check() == []
    finally:
        failing.unregister()


async def test_a_full_disk_refuses_batches_and_lets_others_read_and_goes_on_when_there_is_room(path: Path, clock: SetClock):
    """Trap 35."""
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.start("run", max_events=5_000)
        connection = store._writer.connection
        pages = connection.pragma("page_count")
        connection.pragma("max_page_count", pages)
        large = node.event()._replace(payload='"' + "x" * 100_000 + '"')
        for _ in range(3):
            with pytest.raises(NotApplied, match="disk is full"):
                await node.do(node.progress("run", large))
        assert await node.types("run") == ["run_created", "run_started"]
        connection.pragma("max_page_count", pages + 1_000)
        assert await node.do(node.progress("run", large)) == Recorded(3, 0, True)
        assert await store.check() == []


async def test_a_foreign_writer_in_the_way_is_waited_for_a_moment_and_then_told_in_our_words(path: Path, clock: SetClock):
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        foreign = apsw.Connection(str(path))
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotApplied) as caught:
            await node.do(node.new("run"))
        assert "locked" not in str(caught.value)
        foreign.execute("ROLLBACK")
        foreign.close()
        assert (await node.do(node.new("run"))).reason == "created"


async def test_a_foreign_reader_stops_no_writer_and_the_log_shrinks_when_it_is_gone(
    path: Path, clock: SetClock, caplog: pytest.LogCaptureFixture
):
    """Trap 33."""
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.start("run", max_events=5_000)
        foreign = apsw.Connection(str(path))
        foreign.execute("BEGIN; SELECT count(*) FROM runs").fetchall()
        large = node.event()._replace(payload='"' + "x" * 1_000_000 + '"')
        log = path.with_name(path.name + "-wal")
        for _ in range(80):
            await node.do(node.progress("run", large))
        held_back = log.stat().st_size
        assert held_back > 80_000_000
        assert "has been reading" in caplog.text
        foreign.close()
        for _ in range(40):
            await node.do(node.progress("run", large))
        assert log.stat().st_size <= 64 * 1024 * 1024


async def test_a_frozen_process_in_the_way_makes_a_call_wait_so_long_and_no_longer(path: Path, clock: SetClock):
    async with opened(path, clock) as first, opened(path, clock, patience_ms=50) as second:
        one, two = await Node(first, "one", clock).enrol(), await Node(second, "two", clock).enrol()
        frozen, thaw = threading.Event(), threading.Event()

        def freeze() -> None:
            failpoints.armed.pop("commit.before_commit")
            frozen.set()
            thaw.wait(60)

        failpoints.armed["commit.before_commit"] = freeze
        stuck = asyncio.create_task(one.do(one.new("slow")))
        await asyncio.to_thread(frozen.wait, 60)
        with pytest.raises(NotApplied, match="too long"):
            await two.do(two.new("impatient"))
        assert await second.find_run("slow") is None
        thaw.set()
        assert (await stuck).reason == "created"
        assert (await two.do(two.new("patient"))).reason == "created"
        assert await second.find_run("impatient") is None


async def test_a_read_only_file_is_refused_in_plain_words(clock: SetClock, tmp_path_factory: pytest.TempPathFactory):
    with _unprivileged() as folder:
        path = folder / "store.db"
        async with opened(path, clock):
            pass
        path.chmod(0o400)
        with pytest.raises(UnavailableError, match="read-only"):
            await SqliteStore(path, clock=clock, settings=Settings()).open()


async def test_a_folder_that_may_not_be_written_is_refused_in_plain_words(clock: SetClock):
    with _unprivileged() as folder:
        folder.chmod(0o500)
        with pytest.raises(UnavailableError, match="Permission denied"):
            await SqliteStore(folder / "store.db", clock=clock, settings=Settings()).open()
        folder.chmod(0o700)


async def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path, clock: SetClock):
    (tmp_path / "store.db").mkdir()
    with pytest.raises(UnavailableError):
        await SqliteStore(tmp_path / "store.db", clock=clock, settings=Settings()).open()


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 100, b"\0" * 4096])
async def test_a_file_that_is_no_database_is_refused_untouched(path: Path, clock: SetClock, content: bytes):
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        await SqliteStore(path, clock=clock, settings=Settings()).open()
    assert path.read_bytes() == content


async def test_the_database_of_another_program_is_refused_untouched(path: Path, clock: SetClock):
    foreign = apsw.Connection(str(path))
    foreign.execute("CREATE TABLE runs (mine); INSERT INTO runs VALUES (1)")
    foreign.close()
    content = path.read_bytes()
    with pytest.raises(CorruptStoreError, match="not one of stepwell"):
        await SqliteStore(path, clock=clock, settings=Settings()).open()
    assert path.read_bytes() == content


async def test_a_newer_database_is_refused_untouched(path: Path, clock: SetClock):
    """Trap 34."""
    async with opened(path, clock):
        pass
    newer = apsw.Connection(str(path))
    newer.pragma("user_version", MIGRATIONS[-1][0] + 1)
    newer.close()
    content = path.read_bytes()
    with pytest.raises(CorruptStoreError, match="newer"):
        await SqliteStore(path, clock=clock, settings=Settings()).open()
    assert path.read_bytes() == content


async def test_a_damaged_database_is_told_as_such(path: Path, clock: SetClock):
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.commit(*[node.new(f"run-{number}") for number in range(500)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        async with opened(path, clock) as store:
            await store.find_run("run-1")


async def test_an_empty_file_becomes_a_database(path: Path, clock: SetClock):
    path.touch()
    async with opened(path, clock) as store:
        assert await store.check() == []


async def test_a_migration_that_fails_half_way_leaves_nothing_and_is_repeated(path: Path, clock: SetClock):
    failpoints.armed["migrate"] = _fail_once("migrate", OSError("no"))
    with pytest.raises(UnavailableError):
        await SqliteStore(path, clock=clock, settings=Settings()).open()
    async with opened(path, clock) as store:
        assert await store.check() == []
        assert store._writer.connection.execute("SELECT number, name FROM migrations").fetchall() == [
            (number, name) for number, name, _ in MIGRATIONS
        ]


async def test_a_migration_of_a_store_that_is_there_is_in_its_audit_log(
    path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch
):
    async with opened(path, clock) as store:
        assert await store.audit("", 10) == [], "it was made, and not migrated"
    number = MIGRATIONS[-1][0] + 1
    more = (number, f"{number:04}_more", "CREATE TABLE more (x INTEGER) STRICT")
    monkeypatch.setattr("stepwell.store.migrate.MIGRATIONS", [*MIGRATIONS, more])
    for _ in range(2):
        async with opened(path, clock) as store:
            (entry,) = await store.audit("", 10)
            assert (entry.action, entry.target, entry.result) == ("migrateStore", more[1], "done")


async def test_a_payload_that_was_made_unreadable_spoils_nothing_else(path: Path, clock: SetClock):
    """Trap 11."""
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.commit(node.new("bad", claim=True), node.new("good", claim=True))
        vandal = apsw.Connection(str(path))
        vandal.execute("UPDATE events SET payload = CAST(x'7bff7d' AS TEXT) WHERE run_id = 'bad' AND seq = 1")
        vandal.execute("UPDATE runs SET tags = 'not json', waiting_for = '{' WHERE run_id = 'bad'")
        vandal.close()

        listed = await store.list_runs(RunQuery(with_input=True))
        assert [stored.row.run_id for stored in listed] == ["good", "bad"]
        assert listed[0].created == '{"input":1}'
        assert await store.list_runs(RunQuery(tags=["x"])) == []
        loaded = {history.row.run_id: history for history in await store.load(["bad", "good"])}
        assert loaded["good"].events[0].payload == '{"input":1}'
        assert loaded["bad"].events[0].payload == "\ufffd{\ufffd}"
        assert (await store.events("bad", 0, 9))[1].type == "run_started"
        found = await store.find_run("bad")
        assert found is not None
        assert await node.do(node.cancel("bad"))
        assert await store.check() == ["run bad: it has tags by which no list finds it (not json)"]


async def test_check_finds_what_is_wrong(path: Path, clock: SetClock):
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.commit(
            node.new("gap", claim=True), node.new("final", claim=True), node.new("owner", claim=True), node.new("mail"),
            node.new("stuck"), node.new("key", idempotency_key="k"), node.new("consumed"), node.put("mail"),
            node.new("tagged", tags='["t"]'),
        )  # fmt: skip
        vandal = apsw.Connection(str(path))
        vandal.execute("""
            UPDATE events SET seq = 3 WHERE run_id = 'gap' AND seq = 2;
            UPDATE runs SET status = 3, owner = NULL WHERE run_id = 'final';
            UPDATE runs SET owner = 'nobody' WHERE run_id = 'owner';
            DELETE FROM messages WHERE run_id = 'mail';
            UPDATE runs SET wake_at = NULL WHERE run_id = 'stuck';
            UPDATE runs SET mailbox_consumed = 1 WHERE run_id = 'consumed';
            UPDATE idempotency SET run_id = 'none';
            INSERT INTO events VALUES ('stray', 1, 'x', '', '', '{}', 1);
            DELETE FROM run_tags;
            INSERT INTO run_tags VALUES ('astray', 't', 1);
        """)
        vandal.close()
        wrong = await store.check()
        for run_id in ("gap", "final", "owner", "mail", "stuck", "consumed", "none", "stray", "tagged", "astray"):
            assert [sentence for sentence in wrong if f"run {run_id}:" in sentence], (run_id, wrong)


@pytest.mark.parametrize(
    ("point", "applied"),
    [("commit.before_begin", 0), ("commit.before_write", 0), ("commit.before_commit", 0), ("commit.after_commit", 1)],
)
async def test_an_abandoned_store_is_as_a_dead_process_leaves_it(path: Path, clock: SetClock, point: str, applied: int):
    store = SqliteStore(path, clock=clock, settings=Settings())
    await store.open()
    node = await Node(store, "node", clock).enrol()
    await node.start("run")
    dead = threading.Event()

    def die() -> None:
        dead.set()
        raise SystemExit

    failpoints.armed[point] = die
    unanswered = asyncio.create_task(node.commit(node.progress("run", node.event())))
    await asyncio.to_thread(dead.wait, 60)
    failpoints.armed.clear()
    await asyncio.to_thread(store.abandon)
    assert not unanswered.done()
    unanswered.cancel()
    async with opened(path, clock) as next_life:
        survivor = await Node(next_life, "survivor", clock).enrol()
        assert await next_life.dead_nodes() == ["node"]
        assert len(await survivor.history("run")) == 2 + applied
        freed = await survivor.commit(survivor.bury("node"), survivor.free())
        assert freed[0] == 1
        assert not (path.parent / "store.db.nodes" / "node.lock").exists()
        assert await next_life.check() == []


async def test_an_idle_store_can_be_abandoned_and_answers_nobody(path: Path, clock: SetClock):
    store = SqliteStore(path, clock=clock, settings=Settings())
    await store.open()
    await asyncio.to_thread(store.abandon)
    unanswered = asyncio.ensure_future(store.count_by_status())
    await asyncio.sleep(0)
    assert not unanswered.done()
    unanswered.cancel()
    memory = SqliteStore(None, clock=clock, settings=Settings())
    await memory.open()
    await asyncio.to_thread(memory.abandon)


async def test_a_store_that_is_opened_again_keeps_no_lease_of_its_former_life(path: Path, clock: SetClock):
    store = SqliteStore(path, clock=clock, settings=Settings())
    await store.open()
    await (await Node(store, "node", clock).enrol()).commit()
    assert store.lease_until_boot_ms > 0
    await store.close()
    await store.open()
    assert store.lease_until_boot_ms == 0
    assert await store.dead_nodes() == ["node"]
    await store.close()


async def test_a_store_that_is_not_open_says_so(path: Path, clock: SetClock):
    with pytest.raises(UnavailableError, match="not open"):
        await SqliteStore(path, clock=clock, settings=Settings()).count_by_status()


async def test_commits_of_a_thousand_runs_are_a_handful_of_statements(path: Path, clock: SetClock):
    async with opened(path, clock) as store:
        node = await Node(store, "node", clock).enrol()
        await node.commit(*[node.new(f"run-{number}", claim=True) for number in range(1_000)])
        seen: list[str] = []
        connection = store._writer.connection
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: seen.append(event["sql"]))  # type: ignore[attr-defined]
        await node.commit(*[node.progress(f"run-{number}", node.event()) for number in range(1_000)])
        assert len(seen) < 80


class FailingSync(apsw.VFS):
    """A file system whose syncs can be made to fail."""

    def __init__(self) -> None:
        self.armed = False
        self._before = apsw.vfs_names()[0]
        super().__init__("failing-sync", self._before, makedefault=True)

    def xOpen(self, name, flags):  # type: ignore[no-untyped-def]  # noqa: N802
        return _File(self, self._before, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FailingSync, base: str, name, flags) -> None:  # type: ignore[no-untyped-def]
        self._disk = disk
        super().__init__(base, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.armed:
            raise apsw.IOError("sync failed")
        super().xSync(flags)


def _fail_once(point: str, error: Exception) -> Callable[[], None]:
    def fail() -> None:
        failpoints.armed.pop(point, None)
        raise error

    return fail


async def _until(is_so: Callable[[], bool], store: SqliteStore) -> None:
    """Wait for what the writer thread does by itself, asking it for nothing that makes it do so."""
    async with asyncio.timeout(60):
        while not is_so():
            await store.count_by_status()


class _unprivileged:  # noqa: N801
    """A folder of a user who is not root, to whom permissions apply; and this process as that user."""

    def __enter__(self) -> Path:

        self._folder = tempfile.TemporaryDirectory(dir="/tmp")
        folder = Path(self._folder.name)
        self._was_root = os.geteuid() == 0
        if self._was_root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        return folder

    def __exit__(self, *error: object) -> None:
        if self._was_root:
            os.seteuid(0)
        self._folder.cleanup()
