"""``stepwell dev``: a server on this machine without keys, and a worker that is started again when its code changes."""

import asyncio
import ctypes
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.interrupts import Interrupts
from stepwell.cli.options import Flag
from stepwell.cli.output import print_line, say
from stepwell.cli.stores import note_start
from stepwell.connect import connect

_HOST: Final = "127.0.0.1"
_DRAIN: Final = "5s"
_PARENT_DIED: Final = 1
"""PR_SET_PDEATHSIG of Linux."""


async def dev(*modules: str, port: int = 7331, data: Path = Path(".stepwell"), logs: str = "auto", json: Flag = False) -> Exit:
    """Serve a store in a folder to programs of this machine, without keys; with modules, execute their workflows as well.

    The worker is a process of its own. It is started again when a Python file beside its modules changes, or below this folder.

    Parameters
    ----------
    modules
        MODULE, or MODULE:workflow; a dotted name or a file.
    port
        The port to listen on.
    data
        The folder of the store. It is made if there is none.
    logs
        human, json, or auto: human at a terminal, json elsewhere.
    json
        Print JSON, for programs.
    """
    try:
        # Here and not above: the extra may be missing, and other commands start sooner without it.
        from stepwell.server.app import create_app
        from stepwell.server.logs import configure
        from stepwell.server.serving import listen, served
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs {error.name}. Install it with: pip install 'stepwell[server]'") from None
    folder = _made(data)
    configure(logs)
    listening = listen(_HOST, port)
    url = f"http://{_HOST}:{listening.getsockname()[1]}"
    engine = connect(f"sqlite:///{quote((folder / 'stepwell.db').as_posix(), safe='/:')}")
    try:
        async with Interrupts() as interrupts:
            await engine.open()
            app = create_app(engine, no_auth=True)
            await note_start(engine, app.world.limits, url.removeprefix("http://"), ["--no-auth"])
            async with served(app, listening):
                if json:
                    print_line({"event": "ready", "url": url, "docs": f"{url}/docs"})
                else:
                    say(f"ready: API {url}/api/workflows, documentation {url}/docs, data in {data}")
                work = asyncio.create_task(_work(modules, url)) if modules else None
                try:
                    await interrupts.asked()
                finally:
                    if work is not None:
                        work.cancel()
                        await asyncio.gather(work, return_exceptions=True)
    finally:
        listening.close()
        await engine.close()
    return Exit.OK


async def _work(modules: tuple[str, ...], url: str) -> None:
    """Keep a worker running, always on the code that is there now."""
    from watchfiles import PythonFilter, awatch  # pyright: ignore[reportUnknownVariableType] - of an optional package

    changes: AsyncIterator[set[tuple[Any, str]]] = aiter(awatch(*_folders(modules), watch_filter=PythonFilter()))
    changed = asyncio.ensure_future(anext(changes))
    try:
        while True:
            worker = await _started(modules, url)
            ended = asyncio.ensure_future(worker.wait())
            try:
                await asyncio.wait({changed, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done() and not changed.done():
                    say(
                        f"the worker has ended with code {worker.returncode}; it is started again when its code changes", "yellow"
                    )
                    await asyncio.wait({changed})
            finally:
                await _stopped(worker, ended)
            names = ", ".join(sorted({Path(path).name for _, path in changed.result()})[:5])
            say(f"changed: {names}; the worker is started again", "dim")
            changed = asyncio.ensure_future(anext(changes))
    finally:
        changed.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await changed


async def _started(modules: tuple[str, ...], url: str) -> asyncio.subprocess.Process:
    # -B: a module that has changed within a second of when it was compiled would be taken for the one that was.
    command = (sys.executable, "-B", "-m", "stepwell", "worker", *modules, "--url", url, "--drain-timeout", _DRAIN)
    # In a session of its own: Ctrl-C at a terminal is for this process, which then stops the worker in order.
    return await asyncio.create_subprocess_exec(
        *command, start_new_session=True, preexec_fn=_die_with_parent if sys.platform == "linux" else None
    )


def _die_with_parent() -> None:
    """A worker of a server that was killed would connect to the next one, with old code."""
    ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGTERM)


async def _stopped(worker: asyncio.subprocess.Process, ended: "asyncio.Future[int]") -> None:
    if not ended.done():
        with suppress(ProcessLookupError):
            worker.terminate()
    await asyncio.shield(ended)


def _folders(modules: tuple[str, ...]) -> list[Path]:
    """Return what to watch: this folder, and those of files elsewhere."""
    here = Path.cwd()
    files = [Path(module.rpartition(":")[0] or module) for module in modules]
    return [here, *sorted({file.resolve().parent for file in files if file.is_file()} - {here})]


def _made(data: Path) -> Path:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--data: cannot make the folder {str(data)!r}: {error.strerror}") from None
    return data.resolve()
