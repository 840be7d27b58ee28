"""The clients that the tests of the public surface run on."""

import pytest

from tests.clients import URLS, client, file_url, may_block_the_loop, settings, url

__all__ = ["client", "file_url", "may_block_the_loop", "settings", "url"]

_THROUGH_A_POOLER = {"test_hooks", "test_retries", "test_signals", "test_triggers"}
"""What runs through a PgBouncer as well."""


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    has_its_own = any("url" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    is_among_them = metafunc.module.__name__.rpartition(".")[2] in _THROUGH_A_POOLER
    if "url" in metafunc.fixturenames and is_among_them and not has_its_own:
        metafunc.definition.add_marker(pytest.mark.parametrize("url", [*URLS, "pgbouncer"], indirect=True))
