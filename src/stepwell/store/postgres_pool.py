"""The connections of one node to PostgreSQL, what must be so before one is used, and what time it is there."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from stepwell.clock import Clock
from stepwell.errors import StepwellError, UnavailableError
from stepwell.failpoints import counters
from stepwell.settings import Settings
from stepwell.store.postgres_address import Address
from stepwell.store.postgres_connect import connect, is_pooled
from stepwell.store.postgres_rows import Speech
from stepwell.store.postgres_wire import DRIVER_ERRORS, Wire, is_lost, not_readable

_READERS: Final = 4
_OLDEST: Final = 140_000
_CLOSE_S: Final = 1

_log = logging.getLogger(__name__)
_warned: set[str] = set()


class Pool:
    """Opens connections, checks them, and lends those that only read."""

    def __init__(self, address: Address, speech: Speech, *, clock: Clock, settings: Settings) -> None:
        self._since_boot_ms: int | None = None
        """What to add to this machine's boot time for the server's time: never too much."""
        self.schema = ""
        self.version = ""
        """What the database says that it is."""
        self.is_pooled = False
        """Whether a pooler stands between us and the server."""
        self.must_sync = False
        """Whether commits here would not be synced unless they say so."""
        self.trusts_leases_at_boot_ms = 0
        """Before this time nobody is buried for a lease that is over: the server, or contact with it, was gone a while ago."""
        self._address = address
        self._speech = speech
        self._clock = clock
        self._settings = settings
        self._idle: list[Wire] = []
        self._open: set[Wire] = set()
        self._busy: set[Wire] = set()
        """Those on which an answer is awaited."""
        self._room = asyncio.Semaphore(_READERS)
        self._is_closed = False

    def reopen(self) -> None:
        """Open connections again after ``close``."""
        self._is_closed = False

    async def connect(self) -> Wire:
        """Open a connection and look at what is behind it.

        Raises:
            UnavailableError: There is no PostgreSQL, or one that cannot be used.
        """
        self._must_be_open()
        timeout_s = self._settings.patience_ms / 1000
        wire: Wire | None = None
        try:
            async with asyncio.timeout(timeout_s):
                wire = await connect(self._address, timeout_s)
                self._open.add(wire)
                self._busy.add(wire)
                self._must_be_open()  # still: who closes all knows only of those that were there
                self.is_pooled = is_pooled(wire)
                await self._look(wire)
                return wire
        except BaseException as error:
            known = self._known(error, wire)
            if wire is not None:
                self.drop(wire)
            if isinstance(error, Exception):
                self.lost_contact()
            if known is None or known is error:
                raise
            raise known from error
        finally:
            if wire is not None:
                self._busy.discard(wire)

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise UnavailableError(f"{self._address.name} is closed")

    async def _look(self, wire: Wire) -> None:
        before_ms = self._clock.boot_ms()
        rows = await wire.fetch(self._speech.text("about_server"))
        sync, fsync, full_pages, number, schema, now_ms, started_ms, is_standby, version = rows[0]
        self.version = version.partition(" on ")[0].partition(" (")[0]
        self.set_time(now_ms, before_ms)
        if number < _OLDEST and self.version.startswith("PostgreSQL"):
            # Others that speak its protocol count their own versions.
            raise UnavailableError(f"{self._address.name} is {self.version}: 14 or newer is needed")
        if is_standby:
            raise UnavailableError(f"{self._address.name} is a standby and only reads: name the primary, or all hosts with "
                                   "target_session_attrs=read-write")  # fmt: skip
        if not schema:
            raise UnavailableError(
                f"{self._address.name}: the search_path names no schema that exists and that this role may use"
            )
        self.schema = schema
        self.must_sync = sync == "off"
        for what, value in (("fsync", fsync), ("full_page_writes", full_pages)):
            if value == "off" and (warning := f"{self._address.name} runs with {what}=off") not in _warned:
                _warned.add(warning)
                _log.warning("%s: what it has acknowledged may be lost when its machine fails", warning)
        if not self._clock.is_set and now_ms - started_ms < self._settings.lease_ms:
            self.lost_contact()

    def set_time(self, server_ms: int, before_ms: int) -> None:
        """Note what the server's clock has said, in answer to a question asked at ``before_ms`` of this machine's boot time.

        Its clock was read at some moment between question and answer. What was believed stays, unless that is impossible; then
        the least is believed that is possible: whoever takes the server's time for later than it is, wakes runs early.
        """
        least, most = server_ms - self._clock.boot_ms() - 1, server_ms - before_ms
        if self._since_boot_ms is None or not least <= self._since_boot_ms <= most:
            self._since_boot_ms = least

    def now_ms(self) -> int:
        """Return the server's time: rather a little early than late, and whatever is done to this machine's clock."""
        if self._clock.is_set or self._since_boot_ms is None:
            return self._clock.now_ms()
        return self._clock.boot_ms() + self._since_boot_ms

    def lost_contact(self) -> None:
        """Let nobody be buried for a lease: others may not have been able to renew theirs either."""
        self.trusts_leases_at_boot_ms = self._clock.boot_ms() + self._settings.lease_ms

    def drop(self, wire: Wire) -> None:
        """Close a connection without a word."""
        self._open.discard(wire)
        wire.terminate()

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Wire]:
        """Lend a connection for single statements. What goes wrong is told in the words of ``Store``: ``UnavailableError``."""
        async with self._room:
            wire = await self._take()
            self._busy.add(wire)
            try:
                async with asyncio.timeout(self._settings.patience_ms / 1000):
                    yield wire
            except BaseException as error:
                known = self._known(error, wire)
                if not isinstance(error, Exception) or isinstance(error, TimeoutError) or wire.is_closed() or is_lost(error):
                    self.drop(wire)
                    if isinstance(error, Exception):
                        self.lost_contact()
                        counters["store.connection_lost"] += 1
                else:
                    self._idle.append(wire)
                if known is None or known is error:
                    raise
                raise known from error
            finally:
                self._busy.discard(wire)
            self._idle.append(wire)

    def _known(self, error: BaseException, wire: Wire | None) -> StepwellError | None:
        """Return what to raise for an error on a connection, None for one to be raised as it is."""
        if not isinstance(error, Exception):
            return None
        known = not_readable(error, self._address.name)
        if known is None and wire is not None and wire.is_closed():
            # Closed under its hands, the driver trips over itself.
            known = UnavailableError(f"{self._address.name} cannot be used: the connection is lost")
        return known

    async def _take(self) -> Wire:
        while self._idle:
            wire = self._idle.pop()
            if not wire.is_closed():
                return wire
            self._open.discard(wire)
        return await self.connect()

    async def close(self) -> None:
        """Close all connections. Who still reads on one is told that it is lost."""
        self._is_closed = True
        for wire in list(self._busy):
            self.drop(wire)
        for wire in list(self._open):
            self._open.discard(wire)
            try:
                # The driver's own limit leaves out its wait for the server to cancel what is under way.
                async with asyncio.timeout(_CLOSE_S):
                    await wire.close()
            except DRIVER_ERRORS:
                wire.terminate()

    def abandon(self) -> None:
        """Leave all connections as the death of this process would."""
        self._is_closed = True
        for wire in list(self._open):
            self.drop(wire)


def call_on(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Have something done by a loop from another thread; not at all if the loop is closed."""
    try:
        loop.call_soon_threadsafe(what)
    except RuntimeError:
        counters["store.loop_closed"] += 1
