"""One WebSocket connection, as its handler sees it: who it is was found out before it was accepted."""

from collections.abc import Mapping
from typing import Any, Final

from stepwell.server.keys import Identity
from stepwell.server.problems import Problem
from stepwell.server.requests import Disconnected, Receive, Request, Send
from stepwell.server.world import World

TRY_AGAIN: Final = 1013
GOING_AWAY: Final = 1001
POLICY: Final = 1008
INTERNAL: Final = 1011
_SERVER_ERRORS_FROM: Final = 500


class Socket:
    """A connection. Its address and identity are the connection's, whatever its messages say of themselves."""

    def __init__(self, request: Request, subprotocols: tuple[str, ...], receive: Receive, send: Send) -> None:
        self.request = request
        self.subprotocols = subprotocols
        """What the other side offers."""
        self._receive = receive
        self._send = send
        self._is_accepted = False

    @property
    def world(self) -> World:
        """The engine and the limits."""
        return self.request.world

    @property
    def identity(self) -> Identity:
        """Who it is. Look again now and then with ``world.is_valid``: a key may be revoked."""
        return self.request.identity

    async def accept(self, subprotocol: str) -> None:
        """Let it in.

        Raises:
            Problem: It does not speak this protocol.
        """
        if subprotocol not in self.subprotocols:
            raise Problem(400, "subprotocol", f"offer the subprotocol {subprotocol!r} (Sec-WebSocket-Protocol)")
        self._is_accepted = True
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol})

    async def receive(self) -> bytes | str:
        """Return the next message.

        Raises:
            Disconnected: There will be none.
        """
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        data: bytes | str | None = message.get("bytes")
        return data if data is not None else message["text"]

    async def send(self, data: bytes | str) -> None:
        """Send a message. Returns when it is in the send buffer, and that is not too full."""
        key = "bytes" if isinstance(data, bytes) else "text"
        await self._send({"type": "websocket.send", key: data})

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection."""
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def refuse(self, problem: Problem) -> None:
        """Answer the handshake with a problem, as an ordinary HTTP answer; or close, if it was accepted before."""
        if self._is_accepted:
            await self.close(INTERNAL if problem.status >= _SERVER_ERRORS_FROM else POLICY, problem.code)
            return
        answer = problem.answer(self.request.request_id)
        headers = [(b"content-type", answer.media.encode()), (b"content-length", str(len(answer.body)).encode())]
        headers.extend((name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers.items())
        await self._send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "websocket.http.response.body", "body": answer.body})


def offered(scope: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the subprotocols of a handshake."""
    return tuple(scope.get("subprotocols", ()))
