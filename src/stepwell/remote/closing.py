"""How a worker's connection ends, and what that means."""

from typing import Final

import aiohttp

from stepwell.errors import AuthenticationError, PermissionDeniedError, StepwellError, ValidationError

REFUSALS: Final[dict[int, type[StepwellError]]] = {
    401: AuthenticationError, 403: PermissionDeniedError, 1003: ValidationError, 1008: PermissionDeniedError,
    4400: ValidationError, 4401: AuthenticationError, 4406: ValidationError,
}  # fmt: skip
"""What trying again does not help, while the worker starts."""


class Closed(Exception):
    """The connection is over."""

    def __init__(self, code: int, text: str, *, is_farewell: bool = False) -> None:
        super().__init__(f"{text} (close code {code})" if code else text)
        self.code = code
        self.is_farewell = is_farewell


async def next_message(socket: aiohttp.ClientWebSocketResponse) -> str:
    """Return the next message.

    Raises:
        Closed: There will be none.
    """
    message = await socket.receive()
    if message.type is aiohttp.WSMsgType.TEXT:
        text: str = message.data
        return text
    if message.type is aiohttp.WSMsgType.CLOSE:
        raise Closed(message.data or 1005, f"the server closed it: {message.extra or 'without a reason'}")
    raise Closed(1006, "it was lost")


def explained(error: BaseException) -> str:
    """Say in a line what has gone wrong."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"refused with HTTP {error.status}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
