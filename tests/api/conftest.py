"""The clients that the tests of the public surface run on."""

from tests.clients import client, file_url, settings, url

__all__ = ["client", "file_url", "settings", "url"]
