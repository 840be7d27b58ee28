"""The proxy of the tests: what it does to connections is what it says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.proxy import Proxy

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """Answers each line with ``got`` and the line, and counts what it has read."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.has_line = asyncio.Event()
        self.has_ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.lines.append(line)
                self.has_line.set()
                writer.write(b"got " + line)
                await writer.drain()
            writer.write(b"bye\n")
        except ConnectionError:
            pass
        self.has_ended.set()
        writer.close()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        async with Proxy("127.0.0.1", listener.sockets[0].getsockname()[1]) as proxy:
            yield proxy


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Pair]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.close()


async def ask(pair: Pair, text: bytes) -> bytes:
    pair[1].write(text + b"\n")
    return await pair[0].readline()


async def test_carries_both_ways(proxy: Proxy):
    async with connected(proxy) as pair:
        assert await ask(pair, b"one") == b"got one\n"
        assert await ask(pair, b"x" * 50_000) == b"got " + b"x" * 50_000 + b"\n"
        assert (proxy.connections, proxy.accepted) == (1, 1)


async def test_cut_resets_all_connections_and_takes_new_ones(proxy: Proxy):
    async with connected(proxy) as one, connected(proxy) as two:
        await ask(one, b"1")
        await ask(two, b"2")
        assert proxy.cut() == 2
        for pair in (one, two):
            with pytest.raises(ConnectionResetError):
                await pair[0].readline()
    async with connected(proxy) as pair:
        assert await ask(pair, b"again") == b"got again\n"
    assert proxy.cuts == 2


async def test_what_is_silenced_arrives_when_it_is_healed(proxy: Proxy, server: Server):
    async with connected(proxy) as pair:
        await ask(pair, b"0")
        server.has_line.clear()
        proxy.silence("down")
        answer = asyncio.create_task(ask(pair, b"1"))
        await server.has_line.wait()
        done, _ = await asyncio.wait([answer], timeout=0.05)
        assert not done
        proxy.heal()
        assert await answer == b"got 1\n"


async def test_silenced_upwards_the_server_hears_nothing(proxy: Proxy, server: Server):
    async with connected(proxy) as pair:
        await ask(pair, b"0")
        proxy.silence("up")
        answer = asyncio.create_task(ask(pair, b"1"))
        done, _ = await asyncio.wait([answer], timeout=0.05)
        assert not done
        assert server.lines == [b"0\n"]
        proxy.heal()
        assert await answer == b"got 1\n"


async def test_cut_before_the_server_has_it(proxy: Proxy, server: Server):
    async with connected(proxy) as pair:
        await ask(pair, b"begin")
        proxy.cut_before("up", b"commit")
        with pytest.raises(ConnectionResetError):
            await ask(pair, b"commit")
        await server.has_ended.wait()
    assert server.lines == [b"begin\n"]


async def test_cut_after_the_server_has_it_and_before_the_answer(proxy: Proxy, server: Server):
    async with connected(proxy) as pair:
        await ask(pair, b"begin")
        proxy.cut_answer(b"commit")
        with pytest.raises(ConnectionResetError):
            await ask(pair, b"commit")
    assert server.lines == [b"begin\n", b"commit\n"]


async def test_half_closed_upwards_the_server_still_answers(proxy: Proxy):
    async with connected(proxy) as pair:
        await ask(pair, b"1")
        proxy.half_close("up")
        assert await pair[0].readline() == b"bye\n"


async def test_half_closed_downwards_the_server_still_hears(proxy: Proxy, server: Server):
    async with connected(proxy) as pair:
        await ask(pair, b"1")
        proxy.half_close("down")
        assert await pair[0].readline() == b""
        server.has_line.clear()
        pair[1].write(b"2\n")
        await server.has_line.wait()
    assert server.lines == [b"1\n", b"2\n"]


async def test_dribbles(proxy: Proxy):
    proxy.dribble(1, 0.001, "down")
    async with connected(proxy) as pair:
        pair[1].write(b"slow\n")
        assert await pair[0].read(100) == b"g"
        assert await pair[0].readline() == b"ot slow\n"


async def test_refuses_and_accepts_again_on_the_same_port(proxy: Proxy):
    port = proxy.port
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await proxy.accept()
    async with connected(proxy) as pair:
        assert await ask(pair, b"1") == b"got 1\n"
    assert proxy.port == port


async def test_where_the_server_is_gone_the_connection_is_reset(proxy: Proxy):
    proxy.aim("127.0.0.1", 1)
    async with connected(proxy) as pair:
        with pytest.raises(ConnectionResetError):
            await ask(pair, b"1")
