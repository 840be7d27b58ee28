"""A TCP proxy whose wires a test can cut, slow down, half close and silence: what networks do, without a firewall.

    async with Proxy("127.0.0.1", port) as proxy:
        client = AsyncClient(f"postgresql://u@127.0.0.1:{proxy.port}/db")
        proxy.silence("down")          # the server's answers are held back, for as long as the test likes
        proxy.cut()                    # and now every connection is reset

``up`` is from the client to the server, ``down`` from the server to the client. What is held back is not lost: it arrives when
the wire is healed, as TCP would send it again. The proxy knows nothing of what it carries.
"""

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Final, Literal, Self

Direction = Literal["up", "down"]
_PIECE_BYTES: Final = 65_536
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class _Wire:
    """One direction of all connections."""

    def __init__(self) -> None:
        self.is_sound = asyncio.Event()
        self.is_sound.set()
        self.delay_s = 0.0
        self.piece_bytes = _PIECE_BYTES
        self.cut_before: bytes | None = None
        self.cut_after: bytes | None = None


class _Connection:
    """A client's connection and the one to the server that was made for it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.to: Final[dict[Direction, asyncio.StreamWriter]] = {"up": server, "down": client}
        self.is_answer_due = False
        """What comes down next is not delivered: the connection is cut instead."""

    def reset(self) -> None:
        for writer in self.to.values():
            _reset(writer)


class Proxy:
    """Carries TCP connections to a server. It listens on a port of its own, ``port``, which it keeps while it refuses."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.accepted = 0
        """How many connections there were."""
        self.cuts = 0
        """How many connections were reset by the test."""
        self._target = (host, port)
        self._wires: dict[Direction, _Wire] = {"up": _Wire(), "down": _Wire()}
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    def aim(self, host: str, port: int) -> None:
        """Carry new connections to another server from now on."""
        self._target = (host, port)

    def cut(self) -> int:
        """Reset all connections; return how many."""
        count = len(self._connections)
        for connection in list(self._connections):
            self._reset(connection)
        return count

    def cut_before(self, direction: Direction, needle: bytes) -> None:
        """Reset the next connection that is to carry these bytes, instead of carrying them. Once."""
        self._wires[direction].cut_before = needle

    def cut_answer(self, needle: bytes) -> None:
        """Carry the next piece up that has these bytes in it, and reset the connection instead of carrying the answer. Once."""
        self._wires["up"].cut_after = needle

    def silence(self, *directions: Direction) -> None:
        """Hold back what goes in these directions (both), without a word. New connections are accepted, and as silent."""
        for direction in directions or ("up", "down"):
            self._wires[direction].is_sound.clear()

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Let each piece that goes in these directions (both) take so much longer."""
        for direction in directions or ("up", "down"):
            self._wires[direction].delay_s = seconds

    def dribble(self, piece_bytes: int, seconds: float, *directions: Direction) -> None:
        """Carry only so many bytes at a time in these directions (both), with a pause before each."""
        self.delay(seconds, *directions)
        for direction in directions or ("up", "down"):
            self._wires[direction].piece_bytes = piece_bytes

    def half_close(self, direction: Direction) -> None:
        """Tell all who receive in this direction that nothing more will come; the other direction goes on."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.to[direction].write_eof()

    def heal(self) -> None:
        """Carry everything as if nothing had been. Connections that were cut stay cut."""
        for wire in self._wires.values():
            wire.delay_s, wire.piece_bytes, wire.cut_before, wire.cut_after = 0.0, _PIECE_BYTES, None, None
            wire.is_sound.set()

    async def refuse(self) -> None:
        """Accept no connection any more, and reset those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    async def accept(self) -> None:
        """Accept connections, on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /) -> None:
        await self.refuse()
        self.heal()  # what is held back finds its connection gone
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(to_client)
            return
        connection = _Connection(to_client, to_server)
        self._connections.add(connection)
        try:
            await asyncio.gather(self._flow(connection, from_client, "up"), self._flow(connection, from_server, "down"))
        finally:
            self._connections.discard(connection)
            for writer in connection.to.values():
                writer.close()

    async def _flow(self, connection: _Connection, reader: asyncio.StreamReader, direction: Direction) -> None:
        wire, writer = self._wires[direction], connection.to[direction]
        try:
            while (piece := await reader.read(wire.piece_bytes)) and not writer.is_closing():
                if wire.delay_s:
                    await asyncio.sleep(wire.delay_s)
                await wire.is_sound.wait()
                if self._is_cut_by(connection, direction, piece):
                    return
                writer.write(piece)
                await writer.drain()
            await asyncio.sleep(wire.delay_s)
            await wire.is_sound.wait()
            writer.write_eof()
        except (OSError, RuntimeError):
            # One side is gone, or was told that nothing more will come: so is the other.
            connection.reset()

    def _is_cut_by(self, connection: _Connection, direction: Direction, piece: bytes) -> bool:
        wire = self._wires[direction]
        if direction == "down" and connection.is_answer_due:
            self._reset(connection)
            return True
        if wire.cut_before is not None and wire.cut_before in piece:
            wire.cut_before = None
            self._reset(connection)
            return True
        if wire.cut_after is not None and wire.cut_after in piece:
            wire.cut_after = None
            connection.is_answer_due = True
        return False

    def _reset(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self.cuts += 1
        connection.reset()


def _reset(writer: asyncio.StreamWriter) -> None:
    stream: socket.socket = writer.get_extra_info("socket")
    if stream.fileno() >= 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
