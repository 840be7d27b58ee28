"""A live server on a free port of this machine, over each kind of store, and something to talk to it with."""

from tests.servers import engine, http, live, settings

__all__ = ["engine", "http", "live", "settings"]
