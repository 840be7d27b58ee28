"""WebSocket connections: who may come in is decided before they are accepted."""

import aiohttp
import pytest

from stepwell.server.sockets import Socket
from stepwell.server.table import SocketRoute
from tests.servers import KEY, Live


async def _echo(socket: Socket) -> None:
    await socket.accept("stepwell.v1")
    while True:
        await socket.send(await socket.receive())


@pytest.fixture(autouse=True)
def _a_route(live: Live) -> None:
    live.app._sockets["/echo"] = SocketRoute(path="/echo", access="worker", handler=_echo, summary="")


async def _refusal(live: Live, path: str = "/echo", *, protocols: tuple[str, ...] = ("stepwell.v1",), **headers: str) -> int:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(live.url + path, protocols=protocols, headers=headers)
    return refused.value.status


async def test_who_shows_a_key_and_speaks_the_protocol_is_heard(live: Live):
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        async with session.ws_connect(live.url + "/echo", protocols=["stepwell.v1"]) as connection:
            await connection.send_bytes(b"\x01")
            assert await connection.receive_bytes() == b"\x01"
            await connection.send_str("text")
            assert await connection.receive_str() == "text"


async def test_without_a_key_from_a_foreign_page_or_with_another_protocol_nobody_is_let_in(live: Live):
    key = f"Bearer {KEY}"
    assert await _refusal(live) == 401
    assert await _refusal(live, Authorization=key, Origin="http://evil.example") == 403
    assert await _refusal(live, Authorization=key, Host="evil.example") == 421
    assert await _refusal(live, "/nowhere", Authorization=key) == 404
    assert await _refusal(live, Authorization=key, protocols=("other",)) == 400
