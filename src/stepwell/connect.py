"""URL -> Engine: the only place that chooses between SQLite, PostgreSQL and a server."""

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from stepwell.clock import Clock
from stepwell.engine.api import Engine
from stepwell.engine.embedded import EmbeddedEngine
from stepwell.errors import ValidationError
from stepwell.settings import Settings, url_from_environment
from stepwell.store.sqlite import SqliteStore

DEFAULT_URL: Final = "sqlite:///.stepwell/stepwell.db"
_FORMS: Final = "sqlite:///relative.db, sqlite:////absolute.db, memory://"


def connect(url: str | None, *, clock: Clock | None = None, settings: Settings | None = None) -> Engine:
    """Return the engine that a URL names, not opened yet.

    Args:
        url: ``sqlite:///app.db`` (relative), ``sqlite:////var/app.db`` (absolute), ``sqlite:///C:/app.db``, ``memory://``.
            None: ``STEPWELL_URL``, or else ``sqlite:///.stepwell/stepwell.db``.

    Raises:
        ValidationError: It is none of these. ``field`` is ``url``.
    """
    text = url or url_from_environment() or DEFAULT_URL
    clock = clock or Clock()
    settings = settings or Settings.from_environment()
    if text == "memory://":
        return EmbeddedEngine(SqliteStore(None, clock=clock, settings=settings), clock=clock, settings=settings)
    parts = urlsplit(text)
    if parts.scheme == "sqlite":
        return EmbeddedEngine(
            SqliteStore(_path(text, parts.path, parts.netloc), clock=clock, settings=settings), clock=clock, settings=settings
        )
    shown = f"{parts.scheme}://..." if parts.scheme else repr(text[:80])
    raise ValidationError(f"url must be one of {_FORMS}; not {shown}", field="url")


def find_file(url: str | None) -> Path | None:
    """Return the SQLite file that a URL names, whether it exists or not; None if it names something else.

    Raises:
        ValidationError: As in ``connect``.
    """
    text = url or url_from_environment() or DEFAULT_URL
    parts = urlsplit(text)
    return _path(text, parts.path, parts.netloc) if parts.scheme == "sqlite" else None


def _path(url: str, path: str, host: str) -> Path:
    if host or not path.startswith("/") or len(path) < 2 or "?" in url or "#" in url:
        raise ValidationError(f"url must be one of {_FORMS}; not {url!r}", field="url")
    return Path(unquote(path[1:]))
