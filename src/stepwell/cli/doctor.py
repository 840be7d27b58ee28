"""``stepwell doctor``: is everything there that runs need to move?"""

import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple

from rich.text import Text

from stepwell.cli.exits import Exit, explain
from stepwell.cli.options import DEFAULT, Common
from stepwell.cli.output import print_json, print_table
from stepwell.cli.stores import refuse_other_schema
from stepwell.clock import Clock
from stepwell.connect import DEFAULT_URL, connect, find_file, without_password
from stepwell.engine.access_calls import KeyBook
from stepwell.engine.api import Engine
from stepwell.errors import AuthenticationError, PermissionDeniedError, StepwellError
from stepwell.settings import url_from_environment

_PACKAGES: Final = ("stepwell", "msgspec", "apsw", "asyncpg", "uvicorn", "aiohttp", "cyclopts")
_SKEW_MS_MAX: Final = 1_000


class _Finding(NamedTuple):
    what: str
    is_well: bool
    detail: str


async def doctor(*, common: Common = DEFAULT) -> Exit:
    """Look at the connection, versions, clocks, the store, and whether workers know what waits for them. Changes nothing.

    Exit code 1 if something is wrong.
    """
    found = [_Finding("versions", True, _versions()), *await _examine(common)]
    _print(found, common)
    return Exit.OK if all(each.is_well for each in found) else Exit.FAILED


async def _examine(common: Common) -> list[_Finding]:
    shown = without_password(common.store or url_from_environment() or DEFAULT_URL)
    engine, file = connect(common.store), find_file(common.store)
    if file is not None and not file.exists():
        return [_Finding("connection", True, f"{shown}: there is no file yet; whoever opens it first makes it")]
    try:
        await refuse_other_schema(common)
        await engine.open()
        try:
            # The first question to a server: until then nothing was sent.
            await engine.ready()
            return [_Finding("connection", True, shown), *[each async for each in _look(engine)]]
        finally:
            await engine.close()
    except StepwellError as error:
        return [_Finding("connection", False, f"{shown}: {explain(error)}")]


async def _look(engine: Engine) -> AsyncIterator[_Finding]:
    if isinstance(engine, KeyBook):
        yield _Finding("database", True, engine.about())
    yield _Finding("store", True, "reads and writes")
    yield _clocks(engine)
    looks: tuple[tuple[str, Callable[[Engine], Awaitable[list[_Finding]]]], ...] = (("runs", _runs), ("workers", _coverage))
    for what, look in looks:
        try:
            for finding in await look(engine):
                yield finding
        except StepwellError as error:
            yield _Finding(what, False, f"not shown: {explain(error)}{_hint(error)}")


def _hint(error: StepwellError) -> str:
    return " (STEPWELL_API_KEY names the key)" if isinstance(error, AuthenticationError | PermissionDeniedError) else ""


def _clocks(engine: Engine) -> _Finding:
    skew_ms = engine.now_ms() - Clock().now_ms()
    if abs(skew_ms) <= _SKEW_MS_MAX:
        return _Finding("clocks", True, "the store's and this machine's agree within a second")
    side = "ahead of" if skew_ms > 0 else "behind"
    return _Finding("clocks", False, f"the store's is {abs(skew_ms) / 1000:.1f} s {side} this machine's; the store's counts")


async def _runs(engine: Engine) -> list[_Finding]:
    stats = await engine.stats()
    shown = ", ".join(f"{count:,} {status}" for status, count in stats.runs.items() if count) or "none yet"
    return [_Finding("runs", True, f"{shown}; {stats.claimable:,} wait for a worker with room")]


async def _coverage(engine: Engine) -> list[_Finding]:
    """Tell which workflows have runs to execute, now or once they wake, and no worker."""
    workers, in_flight = await engine.workers(), await engine.in_flight()
    known = {(name, version) for worker in workers for name, version in worker.workflows}
    names = sorted({name for name, _ in known})
    found = [_Finding("workers", True, f"{len(workers)} live, for {', '.join(names)}" if workers else "none live")]
    for each in in_flight:
        counts = [f"{count:,} {status}" for status, count in (("pending", each.pending), ("running", each.running)) if count]
        if counts and (each.workflow_name, each.version or "") not in known:
            of = f"{each.workflow_name!r}" + (f" version {each.version!r}" if each.version else "")
            found.append(_Finding("coverage", False, f"{' and '.join(counts)} runs of {of}, and no live worker knows it"))
    return found


def _versions() -> str:
    found: list[str] = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _print(found: list[_Finding], common: Common) -> None:
    if common.json:
        items: list[dict[str, Any]] = [{"check": each.what, "ok": each.is_well, "detail": each.detail} for each in found]
        print_json({"ok": all(each.is_well for each in found), "items": items})
        return
    marks = {True: Text("ok", "green"), False: Text("wrong", "red")}
    print_table(("CHECK", "", "FOUND"), [(each.what, marks[each.is_well], each.detail) for each in found])
