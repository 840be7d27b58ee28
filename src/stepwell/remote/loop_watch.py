"""Notices, from another thread, that an event loop does not turn, and says which step is to blame."""

import asyncio
import logging
import threading
from typing import Final

from stepwell.clock import Clock
from stepwell.execution.on_stack import step_on_stack

_log: Final = logging.getLogger("stepwell.worker")
_BLOCKED_MS: Final = 1_000


class LoopWatch:
    """Made on the loop's thread; ``look`` is called every now and then on another."""

    def __init__(self, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._boot_ms = clock.boot_ms
        self._asked_boot_ms: int | None = None
        self._is_told = False

    def look(self) -> None:
        """Ask the loop for a sign of life, and complain once if the last was asked for in vain for long."""
        asked, now = self._asked_boot_ms, self._boot_ms()
        if asked is None:
            self._asked_boot_ms, self._is_told = now, False
            try:
                self._loop.call_soon_threadsafe(self._turned)
            except RuntimeError:
                return  # it is closed
        elif now - asked > _BLOCKED_MS and not self._is_told:
            self._is_told = True
            self._complain(now - asked)

    def _turned(self) -> None:
        self._asked_boot_ms = None

    def _complain(self, ms: int) -> None:
        found = step_on_stack(self._thread_id)
        if found is None:
            return
        who = f"step {found.step!r} of run {found.run_id!r}" if found.step else "something outside of steps"
        _log.warning(
            "the event loop has been blocked for %d ms by %s, at %s: no other run goes on. Make it a plain function, which "
            "gets a thread, or await what takes long", ms, who, found.line,
        )  # fmt: skip
