"""A worker's connection, on a thread of its own that a blocked event loop cannot starve.

It sends what the worker says, in as few messages as may be, keeps the lease by its heartbeat, connects again when the connection
is lost, and goes on there with what is held: what was not settled is sent again. It knows frames, and nothing of executions.
Whatever comes in is handed to the worker's loop, in order.
"""

import asyncio
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import aiohttp

from stepwell.clock import Clock
from stepwell.errors import StepwellError, UnavailableError
from stepwell.remote.clock import ServerClock
from stepwell.remote.closing import REFUSALS, Closed, explained, next_message
from stepwell.remote.frames import (
    FRAME_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    PATH,
    SUBPROTOCOL,
    VERSION,
    Assign,
    Beat,
    Bye,
    Done,
    Down,
    Drain,
    Farewell,
    Hello,
    Lease,
    Limits,
    ProgressFrame,
    Settled,
    Up,
    Welcome,
)
from stepwell.remote.packing import Joiner, encode, pack

_log: Final = logging.getLogger("stepwell.remote")

BEAT_MS: Final = 250
"""Between heartbeats while runs are held."""
IDLE_BEATS: Final = 40
"""Every how many of these an idle worker sends one."""
_MARGIN_MS: Final = 100
"""A body starts only while the lease holds for so much longer: between the check and its first instruction time may pass."""
_DEAF_MS: Final = 2_000
"""A beat that is not answered for so long: the connection is given up, in time to go on with what is held on another."""
_LOST_MS: Final = 1_000
"""Without a connection and for so long without a lease, a worker knows that the server has given up what it holds."""
_OPEN_S: Final = 5.0
_LOOK_S: Final = 0.05
_ACTIVE_BEATS: Final = 20
"""So many heartbeats follow after the last run, because the next may come soon and finds a lease."""
_BACKOFF_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0)


class Owner(Protocol):
    """The session, as its wire sees it. Called on the worker's loop."""

    def connected(self, limits: Limits, *, resumed: bool) -> None:
        """A hello was answered."""
        ...

    def received(self, frames: Sequence[Down]) -> None: ...

    def lease_moved(self) -> None:
        """Bodies may start for longer than before."""
        ...


class Wire:
    """Carries frames. Made and used on the worker's loop, but for what it does on its own thread."""

    def __init__(
        self, url: str, api_key: str | None, owner: Owner, *, clock: ServerClock, boot: Clock, agent: str,
        workflows: Sequence[tuple[str, str]], retention: Mapping[tuple[str, str], int], probe: Callable[[], None],
    ) -> None:  # fmt: skip
        self.lease_until_boot_ms = 0
        self.is_lease_awaited = False
        self._url = url + PATH
        self._headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._owner = owner
        self._clock = clock
        self._boot_ms = boot.boot_ms
        self._agent = agent
        self._workflows, self._retention = list(workflows), [(*key, ms) for key, ms in retention.items()]
        self._probe = probe
        self._loop = asyncio.get_running_loop()
        self._welcomed: asyncio.Future[None] = self._loop.create_future()
        self._left: asyncio.Future[None] = self._loop.create_future()
        # Changed on both threads, each time by one operation.
        self._queue: deque[Up] = deque()
        self._unsettled: dict[tuple[str, int], ProgressFrame] = {}
        self._holds: dict[tuple[str, int], None] = {}
        self._is_draining = False
        self._is_leaving = False
        self._is_kicked = False
        self._is_connected = False
        # Of the thread alone.
        self._own_loop = type(self._loop)()  # as quick as the one of the worker
        self._wanted = asyncio.Event()
        self._session = ""
        self._sent_at: dict[int, int] = {}
        self._beats = 0
        self._beat_asked = False
        self._tries = 0
        self._has_served = False
        self._complaint = ""
        self._ended: StepwellError | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._serve, name="stepwell-wire", daemon=True)

    # -- on the worker's loop

    async def open(self, patience_s: float) -> None:
        """Connect. Ready when it returns.

        Raises:
            UnavailableError: No server answered in time. AuthenticationError, PermissionDeniedError: it refused.
        """
        self._thread.start()
        try:
            async with asyncio.timeout(patience_s):
                await asyncio.shield(self._welcomed)
        except TimeoutError:
            await self.abandon()
            raise UnavailableError(f"no worker's connection to {self._url} within {patience_s:g} s: {self._complaint}") from None
        except BaseException:
            await self.abandon()
            raise

    def say(self, frame: Up, *, is_urgent: bool = True) -> None:
        """Send a frame at once, or with the next beat at the latest. What matters is said again if the connection is lost."""
        if isinstance(frame, ProgressFrame):
            self._unsettled[frame.run_id, frame.turn] = frame
        elif isinstance(frame, Done):
            self._holds.pop((frame.run_id, frame.turn), None)
            self._unsettled.pop((frame.run_id, frame.turn), None)
        elif isinstance(frame, Drain):
            self._is_draining = True
        self._queue.append(frame)
        if is_urgent:
            self._kick()

    def ask_for_lease(self) -> None:
        """Send a heartbeat now."""
        self._beat_asked = True
        self._kick()

    def may_start(self) -> bool:
        """Whether the server certainly has not given up this worker."""
        return self.lease_left_ms() > _MARGIN_MS

    def lease_left_ms(self) -> int:
        """How long the server certainly does not give up this worker."""
        return self.lease_until_boot_ms - self._boot_ms()

    async def until_lost(self, *, holds: bool = True) -> None:
        """Return once the server is away, and has certainly given up what is held, if anything is."""
        while self._is_connected or (holds and self.lease_left_ms() > -_LOST_MS):  # noqa: ASYNC110 - what another thread sees
            await asyncio.sleep(_LOOK_S)

    async def close(self, patience_s: float, *, holds: bool) -> None:
        """Say good-bye, and return when the server has handed back what was held, or does not answer."""
        self._is_leaving = True
        self.say(Bye())
        self.ask_for_lease()  # whoever does not answer that is soon given up
        lost = asyncio.ensure_future(self.until_lost(holds=holds))
        await asyncio.wait((self._left, lost), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        if not self._left.done():
            _log.warning("the server did not answer the good-bye of this worker; it will notice that it is gone")
        await self.abandon()

    async def abandon(self) -> None:
        """End the thread, whatever it does."""
        self._is_leaving = True
        if self._thread.is_alive():
            self._call_in_thread(self._cancel)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        for future in (self._welcomed, self._left):
            future.cancel()

    def _kick(self) -> None:
        if not self._is_kicked:
            self._is_kicked = True
            self._call_in_thread(self._wanted.set)

    def _call_in_thread(self, callback: Callable[[], object]) -> None:
        try:
            self._own_loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return  # its loop is closed: the thread has ended

    # -- on the thread

    def _serve(self) -> None:
        loop = self._own_loop
        asyncio.set_event_loop(loop)
        try:
            self._main = loop.create_task(self._live())
            loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        finally:
            self._tell(self._over)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _cancel(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def _over(self) -> None:
        if not self._welcomed.done():
            self._welcomed.set_exception(self._ended or UnavailableError("the connection was closed"))
            self._welcomed.exception()
        if not self._left.done():
            self._left.set_result(None)

    def _tell(self, callback: Callable[..., object], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            self._is_leaving = True  # the worker's loop has ended

    async def _live(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_OPEN_S)
        connector = aiohttp.TCPConnector(limit=1, force_close=True)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout, connector=connector) as http:
            while not (self._is_leaving and not self._session):
                try:
                    await self._connection(http)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._complain(explained(error))
                    refusal = REFUSALS.get(getattr(error, "status", 0))
                    if refusal is not None and not self._session:
                        self._ended = refusal(f"{self._url}: {explained(error)}")
                        return
                except Closed as closed:
                    if closed.is_farewell:
                        return
                    self._complain(str(closed))
                    refusal = REFUSALS.get(closed.code)
                    if refusal is not None and not self._session:
                        self._ended = refusal(str(closed))
                        return
                # At once after a connection that has served and was lost; with growing delay where none can be had.
                self._tries = 0 if self._has_served else self._tries + 1
                self._has_served = False
                longest = _BACKOFF_S[min(self._tries, len(_BACKOFF_S) - 1)]
                await asyncio.sleep(longest * (0.5 + random.random() / 2))  # noqa: S311

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            _log.log(logging.DEBUG if self._is_leaving else logging.WARNING, "connection to %s: %s", self._url, text)

    async def _connection(self, http: aiohttp.ClientSession) -> None:
        """Connect, and serve until the connection is lost. Always raises."""
        async with asyncio.timeout(_OPEN_S):
            socket = await http.ws_connect(
                self._url, protocols=(SUBPROTOCOL,), max_msg_size=MESSAGE_BYTES_MAX, compress=0, autoclose=False
            )  # fmt: skip
        try:
            joiner = Joiner(FRAME_BYTES_MAX)
            await self._greet(socket, joiner)
            self._is_connected = True
            await self._talk(socket, joiner)
        finally:
            self._is_connected = False
            self._sent_at.clear()
            async with asyncio.timeout(1):
                await socket.close()

    def _connected(self, welcome: Welcome) -> None:
        if not self._welcomed.done():
            self._welcomed.set_result(None)
        self._owner.connected(welcome.limits, resumed=welcome.resumed)

    async def _greet(self, socket: aiohttp.ClientWebSocketResponse, joiner: Joiner) -> None:
        # What was queued for the connection before is said by the hello, or lies with the unsettled; what is queued from here on
        # is said after it.
        self._queue.clear()
        self._wanted.clear()
        self._is_kicked = False
        hello = Hello(
            versions=[VERSION], workflows=self._workflows, agent=self._agent, session=self._session, holds=list(self._holds),
            is_draining=self._is_draining, retention=self._retention,
        )  # fmt: skip
        for message in pack([encode(hello)]):
            await socket.send_str(message)
        async with asyncio.timeout(2 * _OPEN_S):
            frames = list(joiner.down(await next_message(socket)))
        if not frames or not isinstance(frames[0], Welcome):
            raise Closed(1002, "the server's first word was not a welcome")
        welcome = frames[0]
        self._clock.told(welcome.now, self._boot_ms())
        self._session = welcome.session
        again = [encode(frame) for frame in list(self._unsettled.values())] if welcome.resumed else []
        if not welcome.resumed:
            self._unsettled.clear()
            self._holds.clear()
        self._complaint = ""
        self._tell(self._connected, welcome)
        if self._is_leaving:
            again.append(encode(Bye()))
        for message in pack(again):
            await socket.send_str(message)
        if frames[1:]:
            self._hand_over(frames[1:])

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse, joiner: Joiner) -> None:
        tasks = list(map(asyncio.ensure_future, (self._speak(socket), self._beat(socket), self._hear(socket, joiner))))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        queue = self._queue
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._is_kicked = False
            frames: list[bytes] = []
            if self._beat_asked:
                self._beat_asked = False
                frames.append(self._next_beat())
            while queue:
                frames.append(encode(queue.popleft()))
            for message in pack(frames):
                await socket.send_str(message)

    def _next_beat(self) -> bytes:
        self._beats += 1
        self._sent_at[self._beats] = self._boot_ms()
        return encode(Beat(self._beats))

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        active = turn = 0
        while True:
            if self._sent_at and self._boot_ms() - next(iter(self._sent_at.values())) > _DEAF_MS:
                raise Closed(0, f"a heartbeat was not answered for {_DEAF_MS} ms")
            active = _ACTIVE_BEATS if self._holds else active - 1
            if active > 0 or turn % IDLE_BEATS == 0:
                for message in pack([self._next_beat()]):
                    await socket.send_str(message)
            self._wanted.set()  # for what is not urgent
            turn += 1
            if self._holds:
                self._probe()
            await asyncio.sleep(BEAT_MS / 1000)

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse, joiner: Joiner) -> None:
        while True:
            frames = list(joiner.down(await next_message(socket)))
            now = self._boot_ms()
            rest: list[Down] = []
            for frame in frames:
                if isinstance(frame, Lease):
                    self._leased(frame, now)
                elif isinstance(frame, Farewell):
                    if self._is_leaving:
                        self._tell(self._over)
                    raise Closed(1000, "good-bye", is_farewell=self._is_leaving)
                else:
                    rest.append(frame)
            if rest:
                self._has_served = True
                self._hand_over(rest)

    def _hand_over(self, frames: list[Down]) -> None:
        for frame in frames:
            if isinstance(frame, Assign):
                self._holds[frame.run_id, frame.turn] = None
            elif isinstance(frame, Settled):
                unsettled = self._unsettled.get((frame.run_id, frame.turn))
                if unsettled is not None and unsettled.no == frame.no:
                    self._unsettled.pop((frame.run_id, frame.turn), None)
        self._tell(self._owner.received, frames)

    def _leased(self, lease: Lease, now: int) -> None:
        sent = self._sent_at.pop(lease.no, None)
        if sent is not None:
            self._clock.told(lease.now, now)
            self.lease_until_boot_ms = max(self.lease_until_boot_ms, sent + lease.ms)
            if self.is_lease_awaited:
                self._tell(self._owner.lease_moved)
