"""The lease of a node on PostgreSQL, renewed by a thread with a loop and a connection of its own: a blocked event loop does not
lose it.
"""

import asyncio
import contextlib
import logging
import threading
from typing import Final, NamedTuple

from stepwell.clock import Clock
from stepwell.failpoints import counters, failpoint
from stepwell.store.postgres_address import Address
from stepwell.store.postgres_connect import connect
from stepwell.store.postgres_rows import Speech, changed
from stepwell.store.postgres_wire import Wire, is_lost

_RENEWALS_A_LEASE: Final = 3
_RETRIES_A_LEASE: Final = 20
_JOIN_S: Final = 10

_log = logging.getLogger(__name__)


class _Lease(NamedTuple):
    node_id: str
    length_ms: int
    renew_at_ms: int


class LeaseKeeper:
    """Renews the lease of one node between its commits. The thread starts with the first lease."""

    def __init__(self, address: Address, speech: Speech, clock: Clock) -> None:
        self.until_boot_ms = 0
        """The end of the lease last known to be stored, by ``Clock.boot_ms``; 0 for none."""
        self._address = address
        self._speech = speech
        self._clock = clock
        self._lease: _Lease | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._is_stopped = False

    def committed(self, node_id: str, length_ms: int | None, boot_ms: int) -> None:
        """A commit that began at ``boot_ms`` has renewed the lease, or said that there is none."""
        was = self._lease
        if length_ms is None:
            self.drop()
            return
        self.until_boot_ms = boot_ms + length_ms
        self._lease = _Lease(node_id, length_ms, boot_ms + length_ms // _RENEWALS_A_LEASE)
        if self._clock.is_set:
            # A test says when time passes, and when a node renews.
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stepwell-lease", daemon=True)
            self._thread.start()
        elif was is None or was.length_ms != length_ms:
            self._kick()

    def drop(self) -> None:
        """There is no lease any more."""
        self._lease = None
        self.until_boot_ms = 0

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._is_stopped = True
        self._lease = None
        self._kick()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _kick(self) -> None:
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(wake.set)

    def _run(self) -> None:
        asyncio.run(self._renew_for_ever())

    async def _renew_for_ever(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        wire: Wire | None = None
        while not self._is_stopped:
            lease = self._lease
            wait_s = None if lease is None else (lease.renew_at_ms - self._clock.boot_ms()) / 1000
            if wait_s is None or wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait_s)
                self._wake.clear()
                continue
            assert lease is not None
            try:
                async with asyncio.timeout(lease.length_ms / 1000):
                    if wire is None or wire.is_closed():
                        wire = await connect(self._address, lease.length_ms / 1000)
                    await self._renew(wire, lease)
            except Exception as error:
                # Soon again: a node without a lease is buried by the others.
                counters["store.renewal_failed"] += 1
                if not is_lost(error):
                    _log.warning("the lease could not be renewed: %s", error)
                if wire is not None:
                    wire.terminate()
                    wire = None
                self._put_off(lease)
        if wire is not None:
            wire.terminate()

    async def _renew(self, wire: Wire, lease: _Lease) -> None:
        failpoint("renew.before_begin")
        boot_ms = self._clock.boot_ms()
        is_alive = changed(await wire.execute(self._speech.text("keep_alive"), lease.length_ms, lease.node_id)) == 1
        failpoint("renew.after_commit")
        counters["store.renewed"] += 1
        # A commit may have come first: the later end counts. A node that is not alive finds out at its next commit.
        if self._lease is not None and self._lease.node_id == lease.node_id:
            if not is_alive:
                self.drop()
            elif boot_ms + lease.length_ms > self.until_boot_ms:
                self.until_boot_ms = boot_ms + lease.length_ms
                self._lease = lease._replace(renew_at_ms=boot_ms + lease.length_ms // _RENEWALS_A_LEASE)

    def _put_off(self, lease: _Lease) -> None:
        if self._lease is lease:
            self._lease = lease._replace(renew_at_ms=self._clock.boot_ms() + lease.length_ms // _RETRIES_A_LEASE)
