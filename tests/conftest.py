"""What holds for every test: an environment without settings, and no failpoint left armed by the test before."""

import os
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

# The engine is loaded with the first client, which may be made on a loop that is watched: here it is loaded before.
import stepwell.engine.embedded
import stepwell.store.sqlite  # noqa: F401
from stepwell import failpoints

# How long an example takes depends on who else uses the machine; it says nothing about the code.
settings.register_profile("stepwell", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stepwell")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STEPWELL_") and not name.startswith("STEPWELL_TEST_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _disarmed_failpoints() -> Iterator[None]:
    yield
    failpoints.armed.clear()


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[BlockBuster]:
    """Fail a test in which our code blocks its event loop: reads a file, sleeps, waits for a lock."""
    with blockbuster_ctx("stepwell") as watch:
        yield watch
