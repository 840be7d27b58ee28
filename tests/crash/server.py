"""A server process as a test handles it: started, told to stop, killed, frozen, and started again on the same port."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Final, Self

import aiohttp

import stepwell
from stepwell.server.serving import listen
from tests.clients import PATIENCE_S
from tests.secrets import secrets_in

_ROOT: Final = Path(stepwell.__file__).parents[2]


class ServerProcess:
    """``stepwell serve`` on a store.

    Args:
        store: The store's URL.
        log: Where it complains. If None, that is looked through for secrets when it has ended, and thrown away.
    """

    def __init__(self, store: str, *, log: int | None = None) -> None:
        self._store = store
        self._is_looked_through = log is None
        self._log: int = os.memfd_create("log") if log is None else log
        listening = listen("127.0.0.1", 0)
        self.port: int = listening.getsockname()[1]
        listening.close()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave no process behind."""
        if self._process is not None:
            await self.end(signal.SIGTERM)

    async def start(self, **settings: object) -> Self:
        """Start it; it serves when this returns. ``lease_ms=500`` is ``STEPWELL_LEASE_MS``."""
        await self.launch(**settings)
        async with asyncio.timeout(PATIENCE_S):
            assert await self.until_serving(), "it did not start"
        return self

    async def launch(self, **settings: object) -> None:
        """Start it, and do not wait until it serves."""
        environment = {**os.environ, "PYTHONPATH": f"{_ROOT / 'src'}{os.pathsep}{_ROOT}"}
        environment |= {f"STEPWELL_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "stepwell", "serve", "--store", self._store, "--port", str(self.port), "--no-auth"]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=self._log, env=environment)

    async def until_serving(self) -> bool:
        """Return once it serves, or has ended: whether it serves."""
        async with aiohttp.ClientSession() as http:
            while self._alive.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return True
                await asyncio.sleep(0.05)
        return False

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._alive.pid, number)

    async def ask_to_stop(self) -> None:
        """Send it SIGTERM; return once it says that it stops, while its workers may still finish what is under way."""
        self.send(signal.SIGTERM)
        async with aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{self.url}/readyz") as answer:
                    if answer.status == 503:
                        return

    async def until_gone(self) -> int:
        """Return how it has ended."""
        code = await self._alive.wait()
        if self._is_looked_through:
            said = os.pread(self._log, os.fstat(self._log).st_size, 0)
            assert secrets_in(said.decode(errors="replace")) == []
        return code

    async def end(self, number: signal.Signals) -> int:
        """End it by a signal; return how it has ended."""
        self.send(number)
        return await self.until_gone()

    @property
    def _alive(self) -> Process:
        assert self._process is not None, "it was never started"
        return self._process
