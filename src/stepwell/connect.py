"""URL -> Engine: the only place that chooses between SQLite, PostgreSQL and a server."""

import asyncio
import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from stepwell.clock import Clock
from stepwell.engine.api import Engine
from stepwell.errors import ValidationError
from stepwell.settings import Settings, api_key_from_environment, url_from_environment
from stepwell.store.schema import Schema

DEFAULT_URL: Final = "sqlite:///.stepwell/stepwell.db"
_FORMS: Final = (
    "sqlite:///relative.db, sqlite:////absolute.db, postgresql://user@host/database, memory://, http://host:port, https://host"
)
_POSTGRES: Final = ("postgresql", "postgres")
_SERVER: Final = ("http", "https")


def connect(
    url: str | None, *, api_key: str | None = None, clock: Clock | None = None, settings: Settings | None = None
) -> Engine:
    """Return the engine that a URL names, not opened yet.

    Args:
        url: ``sqlite:///app.db`` (relative), ``sqlite:////var/app.db`` (absolute), ``sqlite:///C:/app.db``, ``memory://``,
            ``postgresql://user:password@host:5432/database?sslmode=verify-full`` with all options of libpq,
            ``http://127.0.0.1:7331`` (a server). None: ``STEPWELL_URL``, or else ``sqlite:///.stepwell/stepwell.db``.

        api_key: For servers. None: ``STEPWELL_API_KEY``.

    Raises:
        ValidationError: It is none of these, or needs an extra that is not installed. ``field`` is ``url``.
    """
    text, parts = _split(url)
    clock = clock or Clock()
    settings = settings or Settings.from_environment()
    if text == "memory://":
        return _embedded(None, clock, settings)
    if parts.scheme == "sqlite":
        return _embedded(_path(text, parts.path, parts.netloc), clock, settings)
    if parts.scheme in _SERVER:
        return _remote(text, parts, api_key, clock, settings)
    if parts.scheme in _POSTGRES:
        return _on_postgres(text, clock, settings)
    shown = f"{parts.scheme}://..." if parts.scheme else repr(text[:80])
    raise ValidationError(f"url must be one of {_FORMS}; not {shown}", field="url")


def _embedded(path: Path | None, clock: Clock, settings: Settings) -> Engine:
    # Here, so that `import stepwell` does not load a third more for those who only define workflows.
    from stepwell.engine.embedded import EmbeddedEngine
    from stepwell.engine.hook_tokens import HookTokens
    from stepwell.store.sqlite import SqliteStore

    tokens = HookTokens(None if path is None else path.with_name(f"{path.name}.hookkey"))
    store = SqliteStore(path, clock=clock, settings=settings)
    return EmbeddedEngine(store, clock=clock, settings=settings, hook_tokens=tokens)


def _remote(text: str, parts: SplitResult, api_key: str | None, clock: Clock, settings: Settings) -> Engine:
    if not parts.hostname or parts.query or parts.fragment or parts.username or parts.password:
        raise ValidationError("url of a server must be http://host:port; the key goes into api_key", field="url")
    try:
        from stepwell.remote.engine import RemoteEngine
    except ModuleNotFoundError as error:
        what = f"url: a server needs the extra `remote`, which is not installed ({error.name}): pip install 'stepwell[remote]'"
        raise ValidationError(what, field="url") from None
    return RemoteEngine(text, api_key=api_key or api_key_from_environment(), clock=clock, settings=settings)


def _on_postgres(url: str, clock: Clock, settings: Settings) -> Engine:
    from stepwell.engine.embedded import EmbeddedEngine
    from stepwell.engine.hook_tokens import HookTokens

    try:
        from stepwell.store.postgres import PostgresStore
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ValidationError("PostgreSQL needs an extra: pip install 'stepwell[postgres]'", field="url") from None

    store = PostgresStore(url, clock=clock, settings=settings)
    return EmbeddedEngine(store, clock=clock, settings=settings, hook_tokens=HookTokens(None, is_shared=True))


def find_file(url: str | None) -> Path | None:
    """Return the SQLite file that a URL names, whether it exists or not; None if it names something else.

    Raises:
        ValidationError: As in ``connect``.
    """
    text, parts = _split(url)
    return _path(text, parts.path, parts.netloc) if parts.scheme == "sqlite" else None


def is_server(url: str | None) -> bool:
    """Tell whether a URL names a server, and not a store itself.

    Raises:
        ValidationError: As in ``connect``.
    """
    return _split(url)[1].scheme in _SERVER


async def find_schema(url: str | None) -> Schema | None:
    """Return the schema of the store that a URL names, which is not changed; None for a server, and where nothing is there.

    Raises:
        ValidationError: As in ``connect``.
        CorruptStoreError: It is newer than this code, or no store.
        UnavailableError: It cannot be reached.
    """
    text, parts = _split(url)
    if parts.scheme == "sqlite":
        from stepwell.store.migrate import find_schema as find_in_file

        path = _path(text, parts.path, parts.netloc)
        return await asyncio.to_thread(find_in_file, path)
    if parts.scheme in _POSTGRES:
        connect(url)  # for what it raises
        from stepwell.store.postgres_migrate import find_schema as find_in_database

        return await find_in_database(text, clock=Clock(), settings=Settings.from_environment())
    return None


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    if ":" in user:
        url = url.replace(f"{user}@", f"{user.partition(':')[0]}{at}", 1)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1...", url)


def _split(url: str | None) -> tuple[str, SplitResult]:
    text = url or url_from_environment() or DEFAULT_URL
    try:
        return text, urlsplit(text)
    except (ValueError, AttributeError):
        raise ValidationError(f"url must be one of {_FORMS}; not {url!r:.80}", field="url") from None


def _path(url: str, path: str, host: str) -> Path:
    name = unquote(path[1:])
    if host or not path.startswith("/") or not name or "\0" in name or "?" in url or "#" in url:
        raise ValidationError(f"url must be one of {_FORMS}; not {url!r}", field="url")
    return Path(name)
