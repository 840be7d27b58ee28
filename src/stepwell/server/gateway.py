"""Workers on other machines: the server's side of the worker protocol (``docs/protocol.md``).

What a worker says becomes the same calls of a session that a worker in this process makes. Who may connect was decided before;
what its key allows is looked at for everything that is said.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from stepwell.clock import Clock
from stepwell.engine.api import Engine
from stepwell.engine.loop import Loop
from stepwell.errors import NotFoundError, StepwellError
from stepwell.remote.frames import (
    MESSAGE_BYTES_MAX,
    VERSION,
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
    Room,
    Up,
    Welcome,
)
from stepwell.remote.packing import Joiner, encode, pack
from stepwell.server.link import Link
from stepwell.server.pace import Pace
from stepwell.server.writings import ProtocolError
from stepwell.settings import ServerSettings

_log: Final = logging.getLogger("stepwell.server")

_HELLO_S: Final = 10.0
_QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
_QUEUE_FULL_BYTES: Final = 4 * 1024 * 1024
_LOOK_MS: Final = 100
_KEY_LOOK_S: Final = 2.5
"""How often it is looked whether a key lives. With how old what is known of the keys may be, less than five seconds."""
_REASON_LENGTH_MAX: Final = 100

NORMAL: Final = 1000
RESTARTS: Final = 1012
NOT_TEXT: Final = 1003
NOT_ALLOWED: Final = 1008
TOO_BIG: Final = 1009
TOO_MUCH: Final = 1013
NO_VERSION: Final = 4406
SILENT: Final = 4408
REPLACED: Final = 4409


class Socket(Protocol):
    """A connection that was accepted, and whose it is."""

    key_id: str

    async def receive(self) -> str | bytes | None:
        """Return the next message, or None if there will be none."""
        ...

    async def send(self, text: str) -> None: ...

    async def close(self, code: int, reason: str) -> None: ...

    def sees(self, workflow: str) -> bool:
        """Whether runs of this workflow may be touched."""
        ...

    async def forbidden(self, collections: Iterable[str]) -> list[str]:
        """Return those whose records may not be written. That somebody has tried is noted."""
        ...

    async def is_valid(self) -> bool:
        """Whether the key still is."""
        ...


class _Closing(Exception):
    """The connection is to be closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Gateway:
    """All workers that are connected to this server."""

    def __init__(self, engine: Engine, *, clock: Clock, limits: ServerSettings) -> None:
        self.engine = engine
        self.limits = limits
        self.boot_ms = clock.boot_ms
        self.links: dict[str, Link] = {}
        self.is_stopping = False
        """Workers are let go of, and no new ones come."""
        self.is_empty = asyncio.Event()
        """Set when it stops, and no worker is left."""
        self._watch = _Watch(self)

    async def serve(self, socket: Socket) -> None:
        """Serve a worker's connection to its end."""
        self._watch.start()
        line = _Line(self, socket)
        try:
            await line.serve()
        except _Closing as closing:
            await socket.close(closing.code, str(closing)[:_REASON_LENGTH_MAX])
        finally:
            line.gone()

    async def drain(self) -> None:
        """Stop: let the bodies under way end for as long as the settings say, then hand back what is left. New workers are sent
        away, and each of those that are here as soon as it holds nothing.
        """
        self.is_stopping = True
        self._watch.start()
        self._watch.kick()
        for link in self.links.values():
            link.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.drain_ms / 1000):
                await self.is_empty.wait()
        await self._watch.stop()
        await asyncio.gather(*(self.end(link) for link in list(self.links.values())))

    async def end(self, link: Link, *, is_lost: bool = False) -> None:
        """Hand back what a worker holds that leaves, or is gone for good."""
        if self.links.pop(link.token, None) is None:
            return
        try:
            await link.session.close(is_lost=is_lost)
        except StepwellError as error:
            _log.warning("what a worker held could not be handed back yet: %s", error)

    def is_gone(self, link: Link) -> bool:
        """Tell whether a worker has been away, or silent, for so long that its runs go to others."""
        now = self.boot_ms()
        if link.line is None:
            # A worker that lives may still start what it holds until the lease is over that it was promised.
            return now > max(link.promised_until_boot_ms, link.lost_boot_ms + self.limits.worker_lease_ms // 2)
        return link.holds and now - link.heard_boot_ms > self.limits.worker_silence_ms


class _Watch(Loop):
    """Finds the workers that are gone, and those that can be let go of."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(_LOOK_MS)
        self._gateway = gateway

    async def tick(self) -> int:
        """End their links; return how many."""
        links = self._gateway.links
        if self._gateway.is_stopping:
            idle = [link for link in links.values() if not link.holds]
            for link in idle:
                if isinstance(link.line, _Line):
                    link.line.break_off(RESTARTS, "the server stops")
            await asyncio.gather(*(self._gateway.end(link) for link in idle))
            if not links:
                self._gateway.is_empty.set()
        gone = [link for link in links.values() if self._gateway.is_gone(link)]
        for link in gone:
            if isinstance(link.line, _Line):
                link.line.break_off(SILENT, f"nothing was heard for {self._gateway.limits.worker_silence_ms} ms")
        await asyncio.gather(*(self._gateway.end(link, is_lost=True) for link in gone))
        return len(gone)


class _Line:
    """One connection. Implements ``link.Line``."""

    def __init__(self, gateway: Gateway, socket: Socket) -> None:
        self._gateway = gateway
        self._engine = gateway.engine
        self._socket = socket
        self._link: Link | None = None
        self._joiner = Joiner()
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._wanted = asyncio.Event()
        self._spoken = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[_Closing] = asyncio.get_running_loop().create_future()
        self._pace = Pace(gateway.boot_ms)

    # -- for the link

    def push(self, frame: Down) -> None:
        """See ``Line.push``."""
        data = encode(frame)
        self._queue.append(data)
        self._queue_bytes += len(data)
        self._spoken.clear()
        self._wanted.set()
        if self._queue_bytes > _QUEUE_BYTES_MAX:
            self.break_off(TOO_MUCH, "this worker does not read what it is sent")

    def is_full(self) -> bool:
        """See ``Line.is_full``."""
        return self._queue_bytes > _QUEUE_FULL_BYTES

    def break_off(self, code: int, reason: str) -> None:
        """Close, soon."""
        if not self._closing.done():
            self._closing.set_result(_Closing(code, reason))

    # -- its life

    async def serve(self) -> None:
        """Serve until the connection is lost.

        Raises:
            _Closing: It is to be closed.
        """
        try:
            async with asyncio.timeout(_HELLO_S):
                frames = await self._next()
        except TimeoutError:
            raise _Closing(NOT_ALLOWED, f"no hello within {_HELLO_S:g} s") from None
        if not frames or not isinstance(frames[0], Hello):
            if frames is None:
                return
            raise _Closing(NOT_ALLOWED, "the first frame must be a hello")
        await self._greet(frames[0])
        tasks = [asyncio.ensure_future(work) for work in (self._hear(frames[1:]), self._speak(), self._break())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            if self._renewing is not None:
                tasks.append(self._renewing)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _break(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_KEY_LOOK_S):
                    raise await asyncio.shield(self._closing)
            except TimeoutError:
                if not await self._socket.is_valid():
                    raise _Closing(NOT_ALLOWED, "the key is not valid any more") from None

    def gone(self) -> None:
        """The connection is lost: the worker has a moment to come back."""
        link = self._link
        if link is not None and link.line is self:
            link.line = None
            link.lost_boot_ms = self._gateway.boot_ms()

    async def _next(self) -> list[Up] | None:
        """Return what the worker says next, or None if the connection is lost."""
        text = await self._socket.receive()
        if text is None:
            return None
        if isinstance(text, bytes):
            raise _Closing(NOT_TEXT, "frames are text, not binary")
        if len(text) > MESSAGE_BYTES_MAX:
            raise _Closing(TOO_BIG, f"a message has at most {MESSAGE_BYTES_MAX} bytes")
        try:
            return list(self._joiner.up(text))
        except (ValueError, RecursionError) as error:
            raise _Closing(NOT_TEXT, f"this is no frame: {error}") from None

    async def _greet(self, hello: Hello) -> None:
        if VERSION not in hello.versions:
            raise _Closing(NO_VERSION, f"this server speaks version {VERSION}")
        for workflow, _ in hello.workflows:
            if not self._socket.sees(workflow):
                raise _Closing(NOT_ALLOWED, f"this key may not work on {workflow!r}")
        link = self._gateway.links.get(hello.session) if hello.session else None
        resumed = link is not None and link.key_id == self._socket.key_id
        if link is None or not resumed:
            if self._gateway.is_stopping:
                raise _Closing(RESTARTS, "the server stops")
            link = await self._enter(hello)
        elif isinstance(link.line, _Line):
            link.line.break_off(REPLACED, "the worker is back on another connection")
        self._link = link
        link.heard_boot_ms = self._gateway.boot_ms()
        settings, silence_ms = self._engine.settings, self._gateway.limits.worker_silence_ms
        limits = Limits(
            message_bytes_max=MESSAGE_BYTES_MAX, payload_bytes_max=settings.payload_bytes_max,
            depth_max=settings.depth_max, silence_ms=silence_ms, writings_max=link.session.writings_max,
        )  # fmt: skip
        self.push(Welcome(VERSION, link.token, limits, self._engine.now_ms(), resumed))
        link.resumed(self, hello.holds if resumed else ())
        if hello.is_draining:
            link.session.stop_assigning()
        link.has_credit(hello.credit)

    async def _enter(self, hello: Hello) -> Link:
        gateway = self._gateway
        # The key was asked about the workflows: of others this worker has no say.
        kept = {(name, version): ms for name, version, ms in hello.retention if (name, version) in hello.workflows}
        link = Link(secrets.token_urlsafe(16), self._socket.key_id, self._engine.settings, gateway.boot_ms, kept)
        try:
            link.session = await self._engine.work(hello.workflows, link)
        except StepwellError as error:
            raise _Closing(TOO_MUCH, str(error)) from None
        gateway.links[link.token] = link
        return link

    # -- what is said

    async def _speak(self) -> None:
        queue = self._queue
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while queue:
                frames, was = list(queue), self._queue_bytes
                queue.clear()
                for message in pack(frames):
                    await self._socket.send(message)
                self._queue_bytes -= was
                if was > _QUEUE_FULL_BYTES and self._link is not None:
                    self._link.session.has_room()
            self._spoken.set()

    async def _hear(self, frames: list[Up]) -> None:
        link = self._link
        assert link is not None
        more: list[Up] | None = frames
        while more is not None:
            link.heard_boot_ms = self._gateway.boot_ms()
            try:
                for frame in more:
                    await self._heard(link, frame)
            except ProtocolError as error:
                raise _Closing(NOT_ALLOWED, str(error)) from None
            pause_s = self._pace.pause_s()
            if pause_s:
                await asyncio.sleep(pause_s)
            more = await self._next()

    async def _heard(self, link: Link, frame: Up) -> None:
        """Do what a frame asks for."""
        if isinstance(frame, ProgressFrame):
            for run_id in frame.awaits:
                await self._must_see(run_id)
            link.progressed(frame, await self._socket.forbidden({each.collection for each in frame.writings}))
        elif isinstance(frame, Done):
            link.done(frame)
        elif isinstance(frame, Room):
            link.has_credit(frame.credit)
        elif isinstance(frame, Beat):
            self._renew(link, frame)
        elif isinstance(frame, Drain):
            link.session.stop_assigning()
        elif isinstance(frame, Bye):
            await self._gateway.end(link)
            self.push(Farewell())
            await self._spoken.wait()
            raise _Closing(NORMAL, "good-bye")
        else:
            raise _Closing(NOT_ALLOWED, "a second hello")

    def _renew(self, link: Link, beat: Beat) -> None:
        if link.session.lease_left_ms() >= self._gateway.limits.worker_lease_ms // 2:
            self._promise(link, beat)
        elif self._renewing is None or self._renewing.done():
            # This server's own lease runs out, and the worker must not start anything beyond it.
            self._renewing = asyncio.ensure_future(self._renewed(link, beat))

    async def _renewed(self, link: Link, beat: Beat) -> None:
        await link.session.until_may_start()
        self._promise(link, beat)

    def _promise(self, link: Link, beat: Beat) -> None:
        if self._gateway.links.get(link.token) is link and link.line is self:
            left = max(0, min(self._gateway.limits.worker_lease_ms, link.session.lease_left_ms()))
            link.promised_until_boot_ms = max(link.promised_until_boot_ms, self._gateway.boot_ms() + left)
            self.push(Lease(beat.no, left, self._engine.now_ms()))

    async def _must_see(self, run_id: str) -> None:
        """Make sure that a run that another is to wait for is one of this key's."""
        try:
            run = await self._engine.get_run(run_id) if not self._socket.sees("") else None
        except NotFoundError:
            return
        if run is not None and not self._socket.sees(run.workflow_name):
            raise _Closing(NOT_ALLOWED, f"this key may not look at run {run_id!r}")
