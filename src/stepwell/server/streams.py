"""Answers that take their time, or go on: while the key that asked for them is good and the server stays."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, Final, TypeVar

from stepwell.errors import AuthenticationError
from stepwell.server.requests import Request

T = TypeVar("T")

EVENT_STREAM: Final = "text/event-stream"
_BEAT_S: Final = 2.5
"""How often it is looked whether the key lives, and how often a stream says that it does itself while nothing comes. With how old
what is known of the keys may be, less than five seconds."""

_BEAT: Final = b": still there\n\n"


async def first_of(request: Request, coming: Collection[asyncio.Future[Any]], timeout_s: float) -> None:
    """Wait until one of these is done, or for so long.

    Raises:
        AuthenticationError: Meanwhile the key that asks was revoked, or has expired.
    """
    now = asyncio.get_running_loop().time
    until = now() + timeout_s
    while (left_s := until - now()) > 0:
        done, _ = await asyncio.wait(coming, timeout=min(left_s, _BEAT_S), return_when=asyncio.FIRST_COMPLETED)
        if done:
            return
        if not await request.world.is_valid(request.identity):
            raise AuthenticationError("the key that has asked this was revoked meanwhile, or has expired")


async def stream(
    request: Request, opening: bytes, items: AsyncIterator[T], frame: Callable[[T], bytes], *ends: type[Exception],
    beat: Callable[[], bytes] = lambda: _BEAT,
) -> AsyncIterator[bytes]:  # fmt: skip
    """Yield the opening and a frame for each item, and ``beat`` now and then while none comes. It ends with the items, also by an
    error that is one of ``ends``."""
    world = request.world
    last: tuple[type[Exception], ...] = (StopAsyncIteration, *ends)
    now = asyncio.get_running_loop().time
    with world.waiting(request.identity):
        yield opening
        look_at = now() + _BEAT_S
        coming: asyncio.Future[Any] = asyncio.ensure_future(anext(items))
        stopping: asyncio.Future[Any] = asyncio.ensure_future(world.stopping.wait())
        try:
            while not stopping.done():
                await asyncio.wait({coming, stopping}, timeout=look_at - now(), return_when=asyncio.FIRST_COMPLETED)
                is_due = now() >= look_at
                if is_due:
                    # Also while one item comes after the other.
                    if not await world.is_valid(request.identity):
                        return
                    look_at = now() + _BEAT_S
                if coming.done():
                    try:
                        item: T = coming.result()
                    except last:
                        return
                    yield frame(item)
                    coming = asyncio.ensure_future(anext(items))
                elif is_due and not stopping.done():
                    yield beat()
        finally:
            coming.cancel()
            stopping.cancel()
            await asyncio.gather(coming, stopping, return_exceptions=True)
