"""What all requests to one server share."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Mapping

from stepwell.clock import Clock
from stepwell.engine.api import Engine
from stepwell.engine.audit import Audit
from stepwell.errors import NotFoundError, RateLimitedError
from stepwell.model import Run
from stepwell.server.admission import Admission
from stepwell.server.answers import Answer
from stepwell.server.gateway import Gateway
from stepwell.server.keys import Identity, Keys
from stepwell.server.metrics import Metrics
from stepwell.server.tickets import Tickets
from stepwell.settings import ServerSettings


class World:
    """The engine, the limits, who may do what, and how many wait."""

    def __init__(
        self, engine: Engine, *, limits: ServerSettings, keys: Keys, tickets: Tickets, audit: Audit,
        pages: Callable[[], Mapping[str, Answer]],
    ) -> None:  # fmt: skip
        self.engine = engine
        self.limits = limits
        self.keys = keys
        self.tickets = tickets
        self.audit = audit
        self.metrics = Metrics()
        self.pages = pages
        """What is served as it is, by path: a path is a key into this, never joined to a folder. Made when first asked for."""
        self.admission = Admission(engine, limits.queue_depth_max)
        self.gateway = Gateway(engine, clock=Clock(), limits=limits)
        self.stopping = asyncio.Event()
        """Set when the server is asked to stop: streams and long-polls end."""
        self._waits: Counter[str] = Counter()
        self._sockets: Counter[str] = Counter()

    async def is_valid(self, identity: Identity) -> bool:
        """Tell whether a key that was shown a while ago still counts. Ask every few seconds on what stays open."""
        return await self.keys.is_valid(identity, self.engine.now_ms())

    @property
    def waits(self) -> int:
        """How many long-polls and streams are open."""
        return self._waits.total()

    @contextlib.contextmanager
    def waiting(self, identity: Identity) -> Generator[None]:
        """Count a long-poll or stream.

        Raises:
            RateLimitedError: Too many wait already.
        """
        if self.waits >= self.limits.waits_max:
            raise _too_many("too many long-polls and streams at a time", "waits_max")
        if self._waits[identity.key_id] >= self.limits.waits_per_key_max and not self.keys.is_open:
            raise _too_many("too many long-polls and streams of this key at a time", "waits_per_key_max")
        self._waits[identity.key_id] += 1
        try:
            yield
        finally:
            self._waits[identity.key_id] -= 1

    @contextlib.contextmanager
    def connected(self, identity: Identity) -> Generator[None]:
        """Count a WebSocket connection.

        Raises:
            RateLimitedError: The key has too many.
        """
        if self._sockets[identity.key_id] >= self.limits.sockets_per_key_max and not self.keys.is_open:
            raise _too_many("too many connections of this key at a time", "sockets_per_key_max")
        self._sockets[identity.key_id] += 1
        try:
            yield
        finally:
            self._sockets[identity.key_id] -= 1

    async def must_see(self, identity: Identity, run_id: str) -> None:
        """Make sure that a key may touch a run.

        Raises:
            NotFoundError: It may not, or there is no such run: which of both is not told.
        """
        if identity.workflows:
            self.must_show(identity, await self.engine.get_run(run_id))

    def must_show(self, identity: Identity, run: Run[object]) -> None:
        """Make sure that a key may see a run that was read already. Raises as ``must_see``."""
        if not identity.sees(run.workflow_name):
            raise NotFoundError(f"there is no run {run.run_id!r}")


def _too_many(what: str, limit: str) -> RateLimitedError:
    return RateLimitedError(f"{what} ({limit})", retry_after=1, limit=limit)
