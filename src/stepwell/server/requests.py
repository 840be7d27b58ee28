"""One request, as its handler sees it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from stepwell import codec
from stepwell.client.requests import new_id
from stepwell.errors import PermissionDeniedError
from stepwell.server.keys import ANYBODY, Identity
from stepwell.server.problems import Problem, too_large
from stepwell.server.reading import read_body, read_json, read_query
from stepwell.server.world import World

S = TypeVar("S", bound=msgspec.Struct)
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_JSON_TYPES: Final = ("application/json",)
_DRAIN_S: Final = 2.0


@dataclass(slots=True)
class Request:
    """A request, its body not read yet. Header names are lower case; path parts are decoded."""

    world: World
    method: str
    path: str
    query_string: bytes
    headers: dict[str, str]
    address: str
    receive: Receive
    base_url: str
    parts: dict[str, str] = field(default_factory=dict[str, str])
    identity: Identity = ANYBODY
    request_id: str = field(default_factory=new_id)
    is_body_read: bool = False
    route: str = "(none)"
    target: str = ""
    """What the audit log calls it that was touched, where the path does not say it."""
    action: str = ""
    """What the audit log calls what is done, where the route's name does not say it."""
    is_noted: bool = False
    """Whether the audit log has it, though the route is not audited."""

    async def json(self) -> Any:
        """Return the value of the body.

        Raises:
            Problem: 415, 413, 408, 400 or 422.
        """
        self.must_be_json()
        limits = self.world.limits
        return read_json(
            await self.bytes(), limit_bytes=limits.body_bytes_max, depth_max=self.world.engine.settings.depth_max
        )  # fmt: skip

    async def body(self, kind: type[S]) -> S:
        """Return the body as one of the known ones."""
        return read_body(await self.json(), kind)

    def query(self, kind: type[S]) -> S:
        """Return the parameters of the URL."""
        return read_query(self.query_string, kind)

    def text(self, value: Any, field: str) -> str:
        """Return the JSON text of a payload.

        Raises:
            ValidationError, PayloadTooLargeError: It is refused. Nothing was stored.
        """
        settings = self.world.engine.settings
        return codec.encode(value, field=field, limit_bytes=settings.payload_bytes_max, depth_max=settings.depth_max)

    def must_be_json(self) -> None:
        """Refuse a body of another type: a web page can send one of those without being asked first."""
        media = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media not in _JSON_TYPES:
            raise Problem(415, "not_json", f"the body must be application/json, not {media[:80] or 'of no type'!r}")

    def must_see_all(self) -> None:
        """Refuse a key that was made for some workflows what is about all.

        Raises:
            PermissionDeniedError: It is such a key.
        """
        if self.identity.workflows:
            raise PermissionDeniedError("this is about all workflows, and this key was made for some")

    async def bytes(self) -> bytes:
        """Read the body.

        Raises:
            Problem: 413 as soon as it is known to be too long, 408 if it takes too long to arrive.
        """
        limits = self.world.limits
        told = self.headers.get("content-length", "")
        if told.isdigit() and int(told) > limits.body_bytes_max:
            raise too_large(f"the body has {int(told):,} bytes; the limit is {limits.body_bytes_max:,}", "body_bytes_max")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(limits.body_ms_max / 1000):
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    part: bytes = message.get("body", b"")
                    size += len(part)
                    if size > limits.body_bytes_max:
                        raise too_large(f"the body is longer than {limits.body_bytes_max:,} bytes", "body_bytes_max")
                    parts.append(part)
                    if not message.get("more_body", False):
                        self.is_body_read = True
                        break
        except TimeoutError:
            detail = f"the body took longer than {limits.body_ms_max:,} ms to arrive"
            raise Problem(408, "too_slow", detail, limit="body_ms_max", headers={"connection": "close"}) from None
        return b"".join(parts)

    async def drain(self) -> bool:
        """Take in what is left of a body that nobody reads, so that its sender comes to read the answer.

        Returns False if it is too long for that: the connection is closed then.
        """
        if self.is_body_read or not (self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers):
            return True
        left = 2 * self.world.limits.body_bytes_max
        try:
            async with asyncio.timeout(_DRAIN_S):
                while left > 0:
                    message = await self.receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return True
                    left -= len(message.get("body", b""))
        except TimeoutError:
            pass
        return False

    async def until_gone(self) -> None:
        """Return when whoever asked is not there any more. Only once the body was read, or there is none."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Disconnected(Exception):
    """Whoever asked is not there any more: nobody gets an answer."""
