"""HTTP on the wire, with what uvicorn leaves open: how long and how large the head of a request may be.

Whatever is refused here never becomes a request. All other limits are the gate's.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stepwell.server.problems import Problem, too_large
from stepwell.settings import ServerSettings

_LINGER_S: Final = 1.0
_REASONS: Final = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class _Joining:
    """A transport that sends what is written within one turn of the loop at once: head and body of an answer, most of all."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.inner = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """See ``asyncio.Transport``."""
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def write_eof(self) -> None:
        """See ``asyncio.Transport``."""
        self.flush()
        self.inner.write_eof()

    def close(self) -> None:
        """See ``asyncio.Transport``."""
        self.flush()
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def flush(self) -> None:
        """Send it now."""
        if self._written:
            data, self._written = b"".join(self._written), []
            self.inner.write(data)


class LimitedProtocol(HttpToolsProtocol):
    """One connection. ``limits`` is set by ``limited``."""

    limits: ServerSettings
    _alarm: asyncio.TimerHandle | None = None
    _is_in_head = True
    _head_bytes = 0
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: its first head is due from now on."""
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        self._expect_head()

    def handle_websocket_upgrade(self) -> None:
        """The connection goes on as a WebSocket, whose messages are joined already."""
        if isinstance(self.transport, _Joining):
            self.transport = self.transport.inner
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of it."""
        self._calm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The last byte of a head."""
        self._is_in_head = False
        self._calm()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The last byte of an answer: whoever waits for it need not wait for the rest of this turn of the loop."""
        if isinstance(self.transport, _Joining):
            self.transport.flush()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Some bytes."""
        if self._is_refused:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        most = self.limits.headers_bytes_max + self.limits.url_bytes_max
        if self._is_in_head and self._head_bytes > most and not self.transport.is_closing():
            self._refuse(too_large(f"the head of the request is longer than {most:,} bytes", "headers_bytes_max", 431))

    def _expect_head(self) -> None:
        self._calm()
        self._alarm = self.loop.call_later(self.limits.head_ms_max / 1000, self._late)

    def _calm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _late(self) -> None:
        if self._is_in_head and not self.transport.is_closing():
            detail = f"the head of the request took longer than {self.limits.head_ms_max:,} ms to arrive"
            self._refuse(Problem(408, "too_slow", detail, limit="head_ms_max"))

    def _refuse(self, problem: Problem) -> None:
        self._calm()
        answer = problem.answer("")
        if self.cycle is None or self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (answer.status, _REASONS[answer.status], answer.media.encode(), len(answer.body), answer.body)
            )
        self._is_refused = True
        # Closed at once, with bytes of the other side still unread, the connection would be reset and the answer lost.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)

    def eof_received(self) -> None:
        """The other side sends no more."""
        if self._is_refused:
            self.transport.close()


def limited(limits: ServerSettings) -> type[Any]:
    """Return the protocol with these limits."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits})
