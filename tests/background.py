"""A server on a thread of its own, so that what a test does to its own loop does not touch it."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from stepwell import Settings
from stepwell.connect import connect
from stepwell.engine.api import Engine
from stepwell.server.gateway import Gateway
from stepwell.settings import ServerSettings
from tests.servers import serving

T = TypeVar("T")


class Background:
    """A running server that wants no key."""

    def __init__(self) -> None:
        self.url = ""
        self.engine: Engine
        self.gateway: Gateway
        self.loop = asyncio.new_event_loop()

    async def drained(self) -> None:
        """Let go of the workers, as a server does that is asked to stop."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.gateway.drain(), self.loop))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


@contextlib.contextmanager
def served_aside(store_url: str, settings: Settings, **limits: int) -> Iterator[Background]:
    """Serve a store while the context lasts. Whatever a test did, the store must hold together afterwards."""
    server, ready, problems = Background(), threading.Event(), list[str]()
    stop: asyncio.Event = asyncio.Event()
    failure: list[BaseException] = []

    async def serve() -> None:
        server.engine = connect(store_url, settings=settings)
        await server.engine.open()
        try:
            async with serving(server.engine, no_auth=True, limits=ServerSettings(**limits)) as live:
                server.url, server.gateway = live.url, live.app.world.gateway
                ready.set()
                await stop.wait()
            problems.extend(await server.engine.check())
        finally:
            await server.engine.close()

    def live() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: server.loop) as runner:
                runner.run(serve())
        except BaseException as error:
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=live, name="test-server")
    thread.start()
    ready.wait()
    try:
        if not failure:
            yield server
    finally:
        if not server.loop.is_closed():
            server.loop.call_soon_threadsafe(stop.set)
        thread.join()
    if failure:
        raise failure[0]
    assert problems == []
