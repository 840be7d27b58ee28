"""Server-sent events, as they are read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiohttp

from stepwell.errors import RateLimitedError, UnavailableError

LOST: Final = (aiohttp.ClientError, OSError, TimeoutError, UnavailableError, RateLimitedError)
"""What means that a stream is lost, and may be had again."""
DEAF_S: Final = 20.0
"""A stream of which nothing was heard for so long is lost: a server says at least every 5 s that it is still there."""
_AGAIN_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)


class Patience:
    """How long a lost stream is opened again.

    Args:
        what: What the stream tells, for the error.
        patience_s: From when it was heard of last.
    """

    def __init__(self, what: str, patience_s: float) -> None:
        self._what = what
        self._patience_s = patience_s
        self._clock = asyncio.get_running_loop().time
        self.heard()

    def heard(self) -> None:
        """It is there."""
        self._tries = 0
        self._heard = self._clock()

    async def again(self, error: Exception) -> None:
        """Return when it is time to open it again.

        Raises:
            UnavailableError: It was tried for long enough.
        """
        away_s = self._clock() - self._heard
        if self._tries and away_s > self._patience_s:
            raise UnavailableError(f"{self._what}: tried {self._tries} times in {away_s:.1f} s: {error}") from None
        await asyncio.sleep(_AGAIN_S[min(self._tries, len(_AGAIN_S) - 1)])
        self._tries += 1


async def events_in(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Yield the data of server-sent events.

    Raises:
        TimeoutError: Nothing was heard for too long.
    """
    data: list[bytes] = []
    rest = b""
    while True:
        async with asyncio.timeout(DEAF_S):
            chunk = await content.readany()
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data).decode()
                data = []
