"""The clients that workers are tested with."""

from tests.clients import client, file_url, settings, url

__all__ = ["client", "file_url", "settings", "url"]
