"""The application behind a socket: uvicorn, and its orderly end."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from typing import Any

import uvicorn

from stepwell.errors import UnavailableError
from stepwell.server.app import App
from stepwell.server.protocol import limited


class _Server(uvicorn.Server):
    """Tells the application before it waits for its requests to end. Signals are the business of whoever runs it."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self.listens = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any that is free.

    Raises:
        UnavailableError: The port is taken, or the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        why = error.strerror or str(error)
        raise UnavailableError(f"cannot listen on {host}:{port}: {why}. Take another with --port or --host") from None
    listening.setblocking(False)
    return listening


def taken_over(number: int) -> socket.socket:
    """Return a socket that another process has opened and left to this one.

    Raises:
        UnavailableError: There is none of this number.
    """
    try:
        listening = socket.socket(fileno=number)
    except OSError as error:
        raise UnavailableError(f"there is no socket {number}: {error.strerror}") from None
    listening.setblocking(False)
    return listening


@contextlib.asynccontextmanager
async def served(
    app: App, listening: socket.socket, *, proxies: tuple[str, ...] = (), tls: tuple[str | None, str | None] = (None, None)
) -> AsyncGenerator[None]:
    """Serve while the context lasts; leaving it ends streams and finishes requests.

    Args:
        app: What to serve.
        listening: Where.
        proxies: Addresses whose ``X-Forwarded-*`` are believed.
        tls: The files of a certificate and its key.

    Raises:
        UnavailableError: These cannot be used.
    """
    limits = app.world.limits
    config = uvicorn.Config(
        app, loop="none", http=limited(limits), ws="websockets-sansio", lifespan="off", log_config=None, access_log=False,
        proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies), server_header=False,
        limit_concurrency=limits.connections_max, timeout_keep_alive=max(1, limits.keep_alive_ms // 1000),
        timeout_graceful_shutdown=max(1, limits.stop_ms_max // 1000), ws_max_size=limits.frame_bytes_max,
        ssl_certfile=tls[0], ssl_keyfile=tls[1], ws_per_message_deflate=False, ws_ping_interval=20.0, ws_ping_timeout=20.0,
    )  # fmt: skip
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise UnavailableError(f"the certificate or its key cannot be used: {error}") from None
    server = _Server(config, app.world.stopping)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="stepwell-server")
    try:
        await server.listens.wait()
        yield
    finally:
        server.should_exit = True
        await serving
