"""SIGINT and SIGTERM as something to wait for. The first asks; the second, while the first is obeyed, insists."""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The user asked to stop."""


class Interrupts:
    """Catches SIGINT and SIGTERM from entering to leaving.

    The handlers of ``signal.signal``, and not those of the loop, because the loop's exist on Unix alone.
    """

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._insisted = asyncio.Event()
        self._before: dict[signal.Signals, Any] = {}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._caught) for number in _SIGNALS}
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._count)

    def _count(self) -> None:
        (self._insisted if self._asked.is_set() else self._asked).set()

    async def asked(self) -> None:
        """Wait until the user asks to stop."""
        await self._asked.wait()

    async def until_asked(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns.

        Raises:
            Interrupted: The user asked to stop; ``work`` was cancelled.
        """
        return await _first(work, self._asked)

    async def unless_insisted(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns.

        Raises:
            Interrupted: The user asked for the second time; ``work`` was cancelled.
        """
        return await _first(work, self._insisted)


async def _first(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Interrupted
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
