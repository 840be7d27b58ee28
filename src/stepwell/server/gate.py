"""What every request passes before anything else is done with it, and what every answer carries."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from stepwell.server.answers import Answer
from stepwell.server.problems import Problem, too_large
from stepwell.server.requests import Receive, Request, Send
from stepwell.server.world import World

_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b""),
    (b"cache-control", b"no-store"),
)
_SANDBOX: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
_YEAR: Final = (b"strict-transport-security", b"max-age=31536000")


class Gate:
    """Refuses what was not meant for this server, and what is too large to look at.

    Args:
        hosts: By which names it may be addressed. ``"*"`` among them stands for every IP address, which no name can be turned
            into behind a browser's back.
        origins: Whose pages may send requests, besides those of the host itself.
    """

    def __init__(self, hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def request(self, scope: Mapping[str, Any], receive: Receive, world: World) -> Request:
        """Return the request that an ASGI scope describes."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        client = scope.get("client")
        return Request(
            world=world, method=scope.get("method", "GET"), path=_raw_path(scope), query_string=scope["query_string"],
            headers=headers, address=client[0] if client else "", receive=receive,
            base_url=f"{scope['scheme']}://{headers.get('host', '')}",
        )  # fmt: skip

    def check(self, request: Request, scope: Mapping[str, Any]) -> None:
        """Look at all but the body.

        Raises:
            Problem: It is refused.
        """
        limits = request.world.limits
        headers = scope["headers"]
        if len(headers) > limits.headers_max:
            detail = f"{len(headers):,} headers; the limit is {limits.headers_max:,}"
            raise too_large(detail, "headers_max", 431)
        if sum(len(name) + len(value) + 4 for name, value in headers) > limits.headers_bytes_max:
            raise too_large(f"the headers are longer than {limits.headers_bytes_max:,} bytes", "headers_bytes_max", 431)
        if len(request.path) + len(request.query_string) + 1 > limits.url_bytes_max:
            raise too_large(f"the URL is longer than {limits.url_bytes_max:,} bytes", "url_bytes_max", 414)
        if not self._is_host(request.headers.get("host", "")):
            raise Problem(421, "wrong_host", "this server is not known by that name: start it with --allow-host")
        self._check_origin(request)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "content_encoding", "compressed bodies are not taken")

    def _is_host(self, host: str) -> bool:
        name = _without_port(host.lower())
        return name in self._hosts or ("*" in self._hosts and _is_address(name))

    def _check_origin(self, request: Request) -> None:
        origin = request.headers.get("origin")
        if origin is None or origin.lower() in self._origins:
            return
        try:
            of_page = urlsplit(origin).netloc.lower()
        except ValueError:
            of_page = ""
        if not of_page or of_page != request.headers.get("host", "").lower():
            raise Problem(403, "foreign_origin", "requests from other web pages are not taken: start it with --allow-origin")


def _raw_path(scope: Mapping[str, Any]) -> str:
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw is not None else str(scope["path"])


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (not name.count(":") or name.endswith("]")) else host


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


async def respond(request: Request, answer: Answer, send: Send, *, closes: bool) -> None:
    """Send an answer, with what all answers carry. ``closes``: and nothing more on this connection."""
    headers = [
        *_ALWAYS,
        (b"content-type", answer.media.encode()),
        (b"x-request-id", request.request_id.encode()),
    ]  # fmt: skip
    if "content-security-policy" not in answer.headers:
        headers.append((b"content-security-policy", _SANDBOX.encode()))
    if request.base_url.startswith("https:"):
        headers.append(_YEAR)
    headers.extend((name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers.items())
    if closes:
        headers.append((b"connection", b"close"))
    if answer.stream is None:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.stream is None:
        await send({"type": "http.response.body", "body": answer.body})
        return
    async for part in answer.stream:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
