"""A live server on a free port of this machine, over each kind of store, and something to talk to it with."""

import logging
from collections.abc import Iterator

import pytest

from tests.servers import engine, http, live, settings

__all__ = ["engine", "http", "live", "settings"]


@pytest.fixture(autouse=True)
def _all_is_logged(_nothing_secret_is_logged: None) -> Iterator[None]:
    """Where secrets pass most, they are looked for in what is least important, too."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(level)
