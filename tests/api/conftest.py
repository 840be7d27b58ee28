"""The clients that the tests of the public surface run on."""

from tests.clients import client, file_url, may_block_the_loop, settings, url

__all__ = ["client", "file_url", "may_block_the_loop", "settings", "url"]
