"""Server-sent events, as they are read."""

from collections.abc import AsyncIterator
from typing import Final

import aiohttp

AGAIN_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
"""How long to wait before a lost stream is opened again, time after time."""


async def events_in(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Yield the data of server-sent events."""
    data: list[bytes] = []
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data).decode()
                data = []
