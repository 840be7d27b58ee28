"""What only the store on PostgreSQL does: addresses, opening and migrating, hints, leases."""

import asyncio
import time
from urllib.parse import urlsplit

import pytest

from stepwell import failpoints
from stepwell.clock import Clock
from stepwell.errors import CorruptStoreError, UnavailableError, ValidationError
from stepwell.failpoints import counters
from stepwell.settings import Settings
from stepwell.store.base import NotApplied
from stepwell.store.batch import BatchExecution
from stepwell.store.hints import Hint
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_batch import Transaction
from stepwell.store.postgres_migrate import MIGRATIONS
from stepwell.store.postgres_pool import Pool
from stepwell.store.postgres_rows import Speech
from tests import postgres
from tests.api.tools import until
from tests.proxy import Proxy
from tests.store.acting import Node, SetClock


def a_store(url: str, clock: Clock | None = None, **settings: int) -> PostgresStore:
    return PostgresStore(url, clock=clock or Clock(), settings=Settings(**settings))


# -- addresses


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:secret@h:5432/d", "postgresql://u@h:5432/d"),
        ("postgres://u:secret@h/d?sslmode=require", "postgresql://u@h/d?sslmode=require"),
        ("postgresql://h/d?user=u&password=secret&sslpassword=secret", "postgresql://h/d?user=u"),
        ("postgresql://u:se%40cret@h1:1,h2:2/d", "postgresql://u@h1:1,h2:2/d"),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql"),
    ],
)
def test_a_password_is_never_shown(url: str, name: str):
    assert parse_address(url).name == name


@pytest.mark.parametrize(
    "url", ["postgresql://h:port/d", "postgresql://h/d?prepared=maybe", "postgresql://h/d#x", "postgresql://h/%00"]
)
def test_what_is_no_address_is_refused(url: str):
    with pytest.raises(ValidationError):
        parse_address(url)


async def test_nobody_there_is_told_without_the_password():
    with pytest.raises(UnavailableError) as raised:
        await a_store("postgresql://u:secret@127.0.0.1:1/d").open()
    assert "postgresql://u@127.0.0.1:1/d" in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_a_database_that_is_not_there_is_told(postgres_dsn: str):
    with pytest.raises(UnavailableError, match="does not exist"):
        await a_store(postgres_dsn.replace("/postgres", "/nowhere")).open()


async def test_a_schema_that_is_not_there_is_told(postgres_dsn: str):
    with pytest.raises(UnavailableError, match="search_path"):
        await a_store(f"{postgres_dsn}?search_path=nowhere").open()


# -- opening and migrating


async def test_many_nodes_migrate_an_empty_database_at_once(postgres_url: str):
    stores = [a_store(postgres_url) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    applied = postgres.sql(postgres_url, "SELECT number FROM migrations")
    assert applied == [(number,) for number, _, _ in MIGRATIONS]
    for store in stores:
        assert await store.check() == []
        await store.close()


async def test_a_migration_that_fails_at_any_step_is_finished_by_the_next(postgres_url: str):
    steps = sum(len(steps) for _, _, steps in MIGRATIONS)
    for nth in range(1, steps + 1, 5):
        passed = 0

        def fail(nth: int = nth) -> None:
            nonlocal passed
            passed += 1
            if passed == nth:
                raise OSError("made up")

        failpoints.armed["migrate"] = fail
        with pytest.raises(UnavailableError):
            await a_store(postgres_url).open()
    failpoints.armed.clear()
    store = a_store(postgres_url)
    await store.open()
    assert await store.check() == []
    await store.close()


async def test_a_migration_of_a_database_that_is_there_is_in_its_audit_log(postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    store = a_store(postgres_url)
    await store.open()
    assert await store.audit("", 10) == [], "it was made, and not migrated"
    await store.close()
    number = MIGRATIONS[-1][0] + 1
    more = (number, f"{number:04}_more", ["CREATE TABLE IF NOT EXISTS more (x bigint)"])
    monkeypatch.setattr("stepwell.store.postgres_migrate.MIGRATIONS", [*MIGRATIONS, more])
    for _ in range(2):
        store = a_store(postgres_url)
        await store.open()
        (entry,) = await store.audit("", 10)
        assert (entry.action, entry.target, entry.result) == ("migrateStore", more[1], "done")
        await store.close()


async def test_a_database_newer_than_the_code_is_refused(postgres_url: str):
    store = a_store(postgres_url)
    await store.open()
    await store.close()
    postgres.sql(postgres_url, "INSERT INTO migrations (number, name, applied_at) VALUES (9999, 'future', 0)")
    with pytest.raises(CorruptStoreError, match="newer stepwell"):
        await a_store(postgres_url).open()


@pytest.mark.parametrize("needle", [b"pg_postmaster_start_time", b"CREATE TABLE IF NOT EXISTS events", b"FROM migrations"])
async def test_whoever_is_cut_off_while_opening_tries_again(postgres_url: str, needle: bytes):
    parts = urlsplit(postgres_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy:
        proxy.cut_before("up", needle)
        store = a_store(postgres_url.replace(f":{parts.port}/", f":{proxy.port}/"))
        await store.open()
        assert proxy.cuts == 1
        await store.close()


async def test_a_server_that_acknowledges_before_it_syncs_is_told_to_sync(postgres_url: str):
    # promise 1
    store = a_store(f"{postgres_url}&synchronous_commit=off")
    await store.open()
    node = await Node(store, "node", SetClock()).enrol()
    assert store._writer is not None
    assert await store._writer.fetchval("SHOW synchronous_commit") == "off"
    transaction = Transaction(store._writer, store._speech, node.batch(), store._beginning())
    await transaction.carry_out(BatchExecution(store._page(node.batch()), {}).apply([]))
    assert await store._writer.fetchval("SHOW synchronous_commit") == "on"
    await store.close()


# -- time and leases


def _pool(clock: Clock) -> Pool:
    return Pool(parse_address("postgresql://h/d"), Speech(None), clock=clock, settings=Settings())


class _Hands(Clock):
    """A clock with hands, started 10 s ago."""

    at_ms = 1_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def boot_ms(self) -> int:
        return self.at_ms - 990_000


@pytest.mark.parametrize("ahead_ms", [-60_000, 0, 60_000])
async def test_the_servers_time_is_never_taken_for_later_than_it_is_and_does_not_jump_about(ahead_ms: int):
    # promise 7
    clock = _Hands()
    pool = _pool(clock)
    believed: set[int] = set()
    for took_ms in (10, 400, 3, 50):
        before_ms = clock.boot_ms()
        clock.at_ms += took_ms
        pool.set_time(clock.at_ms - took_ms // 2 + ahead_ms, before_ms)
        assert 0 <= clock.at_ms + ahead_ms - pool.now_ms() <= 10
        believed.add(clock.at_ms + ahead_ms - pool.now_ms())
    assert len(believed) <= 2


async def test_leases_are_the_servers_time_whatever_this_machines_clock_says(postgres_url: str):
    class Wrong(Clock):
        def now_ms(self) -> int:
            return super().now_ms() + 3_600_000

    store = a_store(postgres_url, Wrong())
    await store.open()
    node = await Node(store, "node", SetClock()).enrol()
    await node.commit()
    ((left_ms,),) = postgres.sql(
        postgres_url, "SELECT lease_until - (extract(epoch FROM now()) * 1000)::bigint FROM nodes WHERE node_id = 'node'"
    )
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 5_000
    assert abs(store.now_ms() - Clock().now_ms()) < 60_000
    await store.close()


@pytest.mark.usefixtures("may_block_the_loop")
async def test_the_lease_is_renewed_while_the_event_loop_is_blocked(postgres_url: str):
    store = a_store(postgres_url)
    await store.open()
    node = await Node(store, "node", SetClock()).enrol()
    node.lease_ms = 400
    await node.commit()
    before = counters["store.renewed"]
    first = store.lease_until_boot_ms
    while counters["store.renewed"] < before + 3:
        time.sleep(0.01)  # nothing on this loop moves
    assert store.lease_until_boot_ms > first
    assert postgres.sql(postgres_url, "SELECT alive FROM nodes") == [(1,)]
    await store.close()


async def test_nobody_is_buried_for_a_lease_while_nobody_could_renew(postgres_url: str):
    store = a_store(postgres_url)
    await store.open()
    node = await Node(store, "node", SetClock()).enrol()
    postgres.sql(postgres_url, "INSERT INTO nodes VALUES ('late', 1, 0, '', 1, '', '{}'), ('gone', 1, 0, '', NULL, '', '{}')")
    store._pool.lost_contact()
    assert await node.do(node.bury()) == 0
    assert await node.do(node.bury("gone")) == 1
    store._pool.trusts_leases_at_boot_ms = 0
    assert await node.do(node.bury()) == 1
    await store.close()


# -- hints


async def test_a_node_hears_what_another_has_written_but_not_itself(postgres_url: str):
    stores = [a_store(postgres_url, poll_ms=60_000) for _ in range(2)]
    nodes: list[Node] = []
    heard: list[asyncio.Queue[Hint]] = [asyncio.Queue(), asyncio.Queue()]
    for place, store in enumerate(stores):
        await store.open()
        nodes.append(await Node(store, f"node-{place}", SetClock()).enrol())
        store.watch(heard[place].put_nowait)
    for hints in heard:
        await hints.get()  # once when it begins to listen
    await nodes[0].commit(nodes[0].new("r"))
    await heard[1].get()
    assert heard[0].empty()
    for store in stores:
        await store.close()


async def test_where_notifications_do_not_arrive_the_rows_of_others_are_looked_at(postgres_url: str):
    stores = [a_store(f"{postgres_url}&without=notify", poll_ms=60_000) for _ in range(2)]
    for store in stores:
        await store.open()
    nodes = [await Node(store, f"node-{place}", SetClock()).enrol() for place, store in enumerate(stores)]
    heard = asyncio.Event()
    stores[1].watch(lambda _: heard.set())
    await heard.wait()
    heard.clear()
    await nodes[0].commit(nodes[0].new("r"))
    await heard.wait()
    for store in stores:
        await store.close()


async def test_after_its_connections_were_cut_a_store_goes_on(postgres_url: str):
    parts = urlsplit(postgres_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy:
        store = a_store(postgres_url.replace(f":{parts.port}/", f":{proxy.port}/"))
        await store.open()
        node = await Node(store, "node", SetClock()).enrol()
        heard = asyncio.Event()
        store.watch(lambda _: heard.set())
        await heard.wait()
        heard.clear()
        assert proxy.cut() >= 2
        with pytest.raises(NotApplied):
            await node.commit(node.new("r"))
        assert (await node.do(node.new("r"))).reason == "created"
        assert await store.statuses(["r"]) == {"r": 0}
        await heard.wait()  # it listens again, and says so, because it may have missed something
        await store.close()


async def test_connections_to_a_server_that_cannot_be_used_are_not_kept(postgres_url: str):
    store = a_store(f"{postgres_url}&application_name=refused")
    await store.open()
    schema = postgres_url.rpartition("search_path=")[2]
    postgres.sql(
        postgres_url,
        f"ALTER SCHEMA {schema} RENAME TO {schema}_away",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'refused'",
    )
    try:
        for _ in range(5):
            with pytest.raises(UnavailableError):
                await store.statuses(["r"])

        async def is_nobody_connected() -> bool:
            return postgres.sql(postgres_url, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'refused'") == []

        await until(is_nobody_connected)
    finally:
        postgres.sql(postgres_url, f"ALTER SCHEMA {schema}_away RENAME TO {schema}")
        await store.close()


async def test_whoever_reads_while_a_store_is_closed_has_an_answer_or_is_told(postgres_url: str):
    for turns in range(12):
        store = a_store(postgres_url)
        await store.open()
        reading = [asyncio.create_task(store.statuses([f"r{number}"])) for number in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0.001)
        await store.close()
        answers = await asyncio.gather(*reading, return_exceptions=True)
        assert [answer for answer in answers if answer != {} and not isinstance(answer, UnavailableError)] == []
