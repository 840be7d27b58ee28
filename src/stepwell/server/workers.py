"""The route on which workers connect."""

import contextlib
from collections.abc import Iterable

from stepwell.errors import PermissionDeniedError
from stepwell.remote.frames import SUBPROTOCOL
from stepwell.server.requests import Disconnected
from stepwell.server.sockets import Socket


class _Connection:
    """A socket, as the gateway sees it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._is_open = True
        self.key_id = socket.identity.key_id

    async def receive(self) -> str | bytes | None:
        try:
            return await self._socket.receive()
        except Disconnected:
            self._is_open = False
            return None

    async def send(self, text: str) -> None:
        if self._is_open:
            try:
                await self._socket.send(text)
            except OSError:
                self._is_open = False  # what it should have heard is told when it comes back

    async def close(self, code: int, reason: str) -> None:
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):
                await self._socket.close(code, reason)

    def sees(self, workflow: str) -> bool:
        return self._socket.identity.sees(workflow)

    async def forbidden(self, collections: Iterable[str]) -> list[str]:
        who, world, address = self._socket.identity, self._socket.world, self._socket.request.address
        names = [name for name in collections if not who.may("records:*:w", name)]
        for name in names:
            await world.audit.note_refusal(
                who.key_id, "writeRecords", name, address=address, result=PermissionDeniedError.code
            )  # fmt: skip
        return names

    async def is_valid(self) -> bool:
        return await self._socket.world.is_valid(self._socket.identity)


async def work(socket: Socket) -> None:
    """Let a worker in, and serve it until its connection ends."""
    await socket.accept(SUBPROTOCOL)
    await socket.world.gateway.serve(_Connection(socket))
