"""``stepwell doctor``: is everything there that runs need to move?"""

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from rich.text import Text

from stepwell.cli.exits import Exit
from stepwell.cli.options import DEFAULT, Common
from stepwell.cli.output import print_json, print_table
from stepwell.clock import Clock
from stepwell.connect import DEFAULT_URL, connect
from stepwell.engine.access_calls import KeyBook
from stepwell.engine.api import Engine, RunFilter
from stepwell.errors import StepwellError
from stepwell.model import Stats
from stepwell.settings import url_from_environment

_PACKAGES: Final = ("stepwell", "msgspec", "apsw", "asyncpg", "uvicorn", "aiohttp", "cyclopts")
_SKEW_MS_MAX: Final = 1_000
_PAGES_MAX: Final = 20
_PAGE: Final = 500


class _Finding(NamedTuple):
    what: str
    is_well: bool
    detail: str


async def doctor(*, common: Common = DEFAULT) -> Exit:
    """Look at the connection, versions, clocks, the store, and whether workers know what waits for them. Changes nothing.

    Exit code 1 if something is wrong.
    """
    found = [_Finding("versions", True, _versions())]
    url = common.store or url_from_environment() or DEFAULT_URL
    engine = connect(common.store)
    try:
        await engine.open()
        try:
            found += [_Finding("connection", True, _shown(url)), *await _look(engine)]
        finally:
            await engine.close()
    except StepwellError as error:
        found.append(_Finding("connection", False, f"{_shown(url)}: {error}"))
    _print(found, common)
    return Exit.OK if all(each.is_well for each in found) else Exit.FAILED


async def _look(engine: Engine) -> list[_Finding]:
    return [
        *([_Finding("database", True, engine.about())] if isinstance(engine, KeyBook) else []),
        await _ready(engine),
        _clocks(engine),
        _runs(await engine.stats()),
        *await _coverage(engine),
    ]


async def _ready(engine: Engine) -> _Finding:
    try:
        await engine.ready()
    except StepwellError as error:
        return _Finding("store", False, str(error))
    return _Finding("store", True, "reads and writes")


def _clocks(engine: Engine) -> _Finding:
    skew_ms = engine.now_ms() - Clock().now_ms()
    if abs(skew_ms) <= _SKEW_MS_MAX:
        return _Finding("clocks", True, "the store's and this machine's agree within a second")
    side = "ahead of" if skew_ms > 0 else "behind"
    return _Finding("clocks", False, f"the store's is {abs(skew_ms) / 1000:.1f} s {side} this machine's; the store's counts")


def _runs(stats: Stats) -> _Finding:
    shown = ", ".join(f"{count:,} {status}" for status, count in stats.runs.items() if count) or "none yet"
    return _Finding("runs", True, f"{shown}; {stats.claimable:,} wait for a worker with room")


async def _coverage(engine: Engine) -> list[_Finding]:
    """Tell which workflows have runs to execute, and no worker."""
    workers = await engine.workers()
    known = {(name, version) for worker in workers for name, version in worker.workflows}
    pending: Counter[tuple[str, str]] = Counter()
    cursor = None
    for _ in range(_PAGES_MAX):
        page = await engine.get_runs(RunFilter(status="pending"), _PAGE, cursor)
        pending.update((run.workflow_name, run.version or "") for run in page)
        cursor = page.next_cursor
        if cursor is None:
            break
    names = sorted({name for name, _ in known})
    found = [_Finding("workers", True, f"{len(workers)} live, for {', '.join(names)}" if workers else "none live")]
    for (name, its_version), count in sorted(pending.items()):
        if (name, its_version) not in known:
            of = f"{name!r}" + (f" version {its_version!r}" if its_version else "")
            found.append(_Finding("coverage", False, f"{count:,} pending runs of {of}, and no live worker knows it"))
    return found


def _versions() -> str:
    found: list[str] = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _shown(url: str) -> str:
    """Return a URL without its password."""
    parts = urlsplit(url)
    return url if parts.password is None else url.replace(f":{parts.password}@", ":...@", 1)


def _print(found: list[_Finding], common: Common) -> None:
    if common.json:
        items: list[dict[str, Any]] = [{"check": each.what, "ok": each.is_well, "detail": each.detail} for each in found]
        print_json({"ok": all(each.is_well for each in found), "items": items})
        return
    marks = {True: Text("ok", "green"), False: Text("wrong", "red")}
    print_table(("CHECK", "", "FOUND"), [(each.what, marks[each.is_well], each.detail) for each in found])
