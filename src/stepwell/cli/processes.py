"""Several server processes on one port: they share a socket, and whoever dies is replaced.

The socket is opened once, here, and inherited, so what has connected while a process dies is served by another. A process that is
told to stop finishes its requests first; one whose parent is gone sees the end of its standard input, and does the same.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.interrupts import Interrupted, Interrupts
from stepwell.failpoints import counters

_log: Final = logging.getLogger("stepwell.server")
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 10.0
_LIVES_WELL_S: Final = 60.0
_GRACE_S: Final = 15.0


class Command(NamedTuple):
    """How a process is started: arguments of ``stepwell``, its environment, and the socket."""

    arguments: Sequence[str]
    environment: dict[str, str]
    socket: int


class _NeverReadyError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"a server process ended with code {code} before it was ready")
        self.code = code


class _Place:
    """One of the processes, and those that come after it."""

    def __init__(self, command: Command) -> None:
        self.ready: Final = asyncio.Event()
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    async def keep(self) -> int:
        """Have a process there until told to stop; return the exit code of the last.

        Raises:
            _NeverReadyError: The first did not come to serve anything.
        """
        clock, wait_s = asyncio.get_running_loop().time, _FIRST_WAIT_S
        while True:
            began = clock()
            process = self._process = await self._started()
            if self._stopping.is_set():
                self.stop()
            assert process.stdout is not None
            if await process.stdout.readline():
                self.ready.set()
            code = await process.wait()
            if self._stopping.is_set():
                return code
            if not self.ready.is_set():
                raise _NeverReadyError(code)
            wait_s = _FIRST_WAIT_S if clock() - began > _LIVES_WELL_S else wait_s
            counters["server.process_replaced"] += 1
            _log.warning("server process %d has ended with code %d; another is started in %.1f s", process.pid, code, wait_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
                    return Exit.OK
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _started(self) -> asyncio.subprocess.Process:
        command = self._command
        # In a session of its own: Ctrl-C at a terminal is for the parent, which then stops the others in order.
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stepwell", *command.arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            pass_fds=[command.socket], env=command.environment, start_new_session=True,
        )  # fmt: skip

    def stop(self) -> None:
        """Ask the process to finish."""
        self._stopping.set()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()


async def serve_in_processes(
    command: Command, count: int, interrupts: Interrupts, *, stop_s: float, ready: Callable[[], None]
) -> int:  # fmt: skip
    """Keep so many processes until the user asks to stop; return the exit code.

    Args:
        command: How each is started.
        count: How many.
        interrupts: When to stop; the second request ends them at once.
        stop_s: How long one may take to finish its requests.
        ready: Called once all of them serve.

    Raises:
        UsageError: One of the first did not come to serve anything, and has said why.
    """
    places = [_Place(command) for _ in range(count)]
    keeping = [asyncio.ensure_future(place.keep()) for place in places]
    watching = asyncio.ensure_future(_tell(places, ready))
    asked = asyncio.ensure_future(interrupts.asked())
    try:
        await asyncio.wait({asked, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        for place in places:
            place.stop()
        try:
            async with asyncio.timeout(stop_s + _GRACE_S):
                ends = await interrupts.unless_insisted(_all(keeping))
        except (TimeoutError, Interrupted):
            for place in places:
                place.kill()
            ends = await _all(keeping)
        failed = next((end for end in ends if isinstance(end, BaseException)), None)
        if isinstance(failed, _NeverReadyError):
            raise UsageError(str(failed)) from None
        if failed is not None:
            raise failed
        return Exit.OK if all(end == Exit.OK for end in ends) else Exit.FAILED
    finally:
        for place in places:
            place.kill()
        for each in (watching, asked, *keeping):
            each.cancel()


async def _all(keeping: Sequence["asyncio.Future[int]"]) -> list[int | BaseException]:
    # Shielded: a place that is cancelled would leave its process to itself.
    return list(await asyncio.gather(*(asyncio.shield(each) for each in keeping), return_exceptions=True))


async def _tell(places: Sequence[_Place], ready: Callable[[], None]) -> None:
    for place in places:
        await place.ready.wait()
    ready()


async def until_parent_is_gone() -> None:
    """Return when nobody holds the other end of standard input any more."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
