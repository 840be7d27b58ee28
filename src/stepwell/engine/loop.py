"""A small loop: a ``tick()`` that tests can call, repeated until told to stop."""

import asyncio
import contextlib
import logging
from typing import Final

from stepwell.errors import StepwellError
from stepwell.failpoints import counters

_log: Final = logging.getLogger("stepwell.engine")


class Loop:
    """Calls ``tick`` again and again: every ``interval_ms``, and soon after ``kick``."""

    def __init__(self, interval_ms: int | None) -> None:
        """Without an interval it ticks only when kicked."""
        self._interval_s = None if interval_ms is None else interval_ms / 1000
        self._kicked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def tick(self) -> object:
        """Do one turn's work."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._task is not None:
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"stepwell-{type(self).__name__.lower()}")

    def kick(self) -> None:
        """Tick soon."""
        self._kicked.set()

    async def stop(self) -> None:
        """End, in the middle of a tick if need be."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._kicked.wait()
            self._kicked.clear()
            try:
                await self.tick()
            except StepwellError as error:
                counters["loop.unavailable"] += 1
                _log.warning("%s: %s", type(self).__name__, error)
                await asyncio.sleep(0.1)
            except Exception:
                counters["loop.error"] += 1
                _log.exception("%s failed, and goes on", type(self).__name__)
                await asyncio.sleep(0.1)
