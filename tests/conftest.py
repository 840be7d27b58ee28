"""What holds for every test: an environment without settings, no failpoint left armed by the last one, no secret logged."""

import gc
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

# The engine is loaded with the first client, which may be made on a loop that is watched: here it is loaded before.
import stepwell.engine.embedded
import stepwell.store.postgres
import stepwell.store.sqlite  # noqa: F401
from stepwell import failpoints
from tests import pgbouncer, postgres
from tests.secrets import Watch

# How long an example takes depends on who else uses the machine; it says nothing about the code.
settings.register_profile("stepwell", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stepwell")

# What tests write need not outlive the machine. On a disk each commit waits, and all wait for each other.
_MEMORY, _ROOM_BYTES = Path("/dev/shm"), 2 << 30
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def pytest_collection_finish() -> None:
    """Thousands of tests lie still from here on: collecting garbage need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STEPWELL_") and not name.startswith("STEPWELL_TEST_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _disarmed_failpoints() -> Iterator[None]:
    yield
    failpoints.armed.clear()


@pytest.fixture(scope="session")
def _watch() -> Iterator[Watch]:
    watch, root = Watch(), logging.getLogger()
    root.addHandler(watch)
    yield watch
    root.removeHandler(watch)


@pytest.fixture(autouse=True)
def _nothing_secret_is_logged(_watch: Watch) -> Iterator[None]:
    """Look at all that is logged during each test, requests included."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(min(level, logging.INFO))
    yield
    root.setLevel(level)
    found, _watch.found = _watch.found, []
    assert found == []


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[BlockBuster]:
    """Fail a test in which our code blocks its event loop: reads a file, sleeps, waits for a lock."""
    with blockbuster_ctx("stepwell") as watch:
        # As libpq does, the driver looks for passwords and certificates in files when it connects.
        for function in watch.functions.values():
            function.can_block_in("asyncpg/connect_utils.py", {"_parse_connect_dsn_and_args", "parse", "_read_password_file"})
        yield watch


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a PostgreSQL that all tests of this run share."""
    base = tmp_path_factory.getbasetemp()
    return postgres.server(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="session")
def pooler_dsn(postgres_dsn: str) -> Iterator[str]:
    """The address of a PgBouncer before that server."""
    with pgbouncer.between(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture
def pooled_url(pooler_dsn: str, postgres_dsn: str, cleared_url: str) -> str:
    """The address of a store of this test's own with nothing in it, through a PgBouncer."""
    return cleared_url.replace(postgres_dsn, pooler_dsn)


@pytest.fixture
def cleared_url(postgres_dsn: str) -> Iterator[str]:
    """The address of a store of this test's own with nothing in it: its tables are there."""
    with postgres.cleared_schema(postgres_dsn) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_dsn: str) -> Iterator[str]:
    """The address of an empty database of this test's own."""
    with postgres.schema(postgres_dsn) as url:
        yield url
