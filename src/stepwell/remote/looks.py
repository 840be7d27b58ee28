"""What is asked of a server about its whole store: counts, workers, whether it is well."""

from typing import Final

from stepwell.clock import Clock
from stepwell.engine.api import InFlight, WorkerInfo
from stepwell.model import Stats
from stepwell.remote.access import RemoteAccess
from stepwell.remote.clock import ServerClock
from stepwell.remote.values import read_in_flight, read_problems, read_stats, read_time, read_workers

_BASE: Final = "/api/workflows"


class RemoteLooks(RemoteAccess):
    """A part of ``RemoteEngine``."""

    _clock: ServerClock
    _boot: Clock

    async def stats(self) -> Stats:
        """See ``Engine.stats``."""
        return read_stats(await self._http.ask("GET", f"{_BASE}/stats"))

    async def in_flight(self) -> list[InFlight]:
        """See ``Engine.in_flight``."""
        return read_in_flight(await self._http.ask("GET", f"{_BASE}/in-flight"))

    async def queue_depth(self, most: int) -> int:
        """See ``Engine.queue_depth``."""
        return min(most, (await self.stats()).claimable)

    async def workers(self) -> list[WorkerInfo]:
        """See ``Engine.workers``."""
        return read_workers(await self._http.ask("GET", f"{_BASE}/workers"))

    async def ready(self) -> None:
        """See ``Engine.ready``."""
        now_ms = read_time(await self._http.ask("GET", "/readyz"))
        if now_ms is not None:
            self._clock.told(now_ms, self._boot.boot_ms())

    async def check(self) -> list[str]:
        """See ``Engine.check``."""
        return read_problems(await self._http.ask("GET", f"{_BASE}/check"))
