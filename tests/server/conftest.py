"""A live server on a free port of this machine, over each kind of store, and something to talk to it with."""

import io
import logging
import re
from collections.abc import Iterator

import pytest

from stepwell.server.logs import Formatter
from tests.servers import engine, http, live, settings

__all__ = ["engine", "http", "live", "settings"]

_SECRET = re.compile(
    r"swk_[a-z0-9]{8}_(?!\[redacted\])\S+|swh\.(?!\[redacted\])\S+|hooks/(?!\[redacted\])[^\s\"']+", re.IGNORECASE
)


@pytest.fixture(autouse=True)
def _nothing_secret_is_logged() -> Iterator[None]:
    """Look through all that is logged during each of these tests, down to the least important, as a server writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(is_human=False))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield
    root.removeHandler(handler)
    root.setLevel(level)
    assert _SECRET.findall(stream.getvalue()) == []
