"""Requests to a server: with a limit on how long they take, tried again where that is safe, and clear about what was tried."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Final, NamedTuple

import aiohttp
from aiohttp import ClientResponse, ClientSession
from yarl import URL

from stepwell.errors import RateLimitedError, StepwellError, UnavailableError
from stepwell.remote.problems import error_of

_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 30.0
_BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_BUSY: Final = frozenset({429, 502, 503, 504})
_CONNECTIONS_MAX: Final = 100
_ERRORS_FROM: Final = 400


class Answered(NamedTuple):
    """What a server has answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """Speaks to one server. Belongs to the loop that opened it."""

    def __init__(self, url: str, api_key: str | None, patience_ms: int) -> None:
        self.url = url
        self._headers = {"accept": "application/json"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._patience_s = patience_ms / 1000
        self._session: ClientSession | None = None

    def open(self) -> None:
        """Begin. Nothing is sent yet."""
        timeout = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=_CONNECT_S)
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS_MAX)
        self._session = ClientSession(headers=self._headers, timeout=timeout, connector=connector, auto_decompress=False)

    async def close(self) -> None:
        """End; what is under way is called off."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: bytes | None = None, is_safe: bool = True,
        wait_s: float = 0, headers: Mapping[str, str] | None = None,
    ) -> bytes:  # fmt: skip
        """Return the body of the answer; see ``answer``."""
        answered = await self.answer(method, path, query=query, body=body, is_safe=is_safe, wait_s=wait_s, headers=headers)
        return answered.body

    async def answer(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: bytes | None = None, is_safe: bool = True,
        wait_s: float = 0, headers: Mapping[str, str] | None = None,
    ) -> Answered:  # fmt: skip
        """Return the answer.

        Args:
            method: ``GET`` and its kin.
            path: Encoded already.
            query: Not encoded yet.
            body: JSON.
            is_safe: Whether doing it twice is the same as doing it once.
            wait_s: How long the server may take on purpose.
            headers: Besides those that all requests have.

        Raises:
            UnavailableError: No answer, after all that was tried. Else what the server's problem stands for.
        """
        url = URL(self.url + path, encoded=True)
        url = url.with_query(query) if query else url
        loop, tries = asyncio.get_running_loop(), 0
        begun = loop.time()
        is_known = True
        while True:
            tries += 1
            try:
                answer = await self._once(method, url, body, headers, _ANSWER_S + wait_s)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                sent = not isinstance(error, aiohttp.ClientConnectorError)
                failure: StepwellError | None = None
                is_known = is_known and not sent
                text, may_repeat = _said(error), is_safe or not sent
            else:
                if answer.status < _ERRORS_FROM:
                    return answer
                failure = error_of(answer.status, answer.headers, answer.body)
                if answer.status not in _BUSY:
                    raise failure
                text, may_repeat = str(failure), is_safe or _nothing_done(failure)
                is_known = is_known and _nothing_done(failure)
            pause = _BACKOFF_S[min(tries, len(_BACKOFF_S)) - 1] * (0.5 + random.random())  # noqa: S311
            if isinstance(failure, RateLimitedError):
                pause = max(pause, failure.retry_after or 0)
            took = loop.time() - begun
            if not may_repeat or took + pause > self._patience_s:
                if isinstance(failure, RateLimitedError):
                    raise failure
                raise UnavailableError(
                    f"{method} {url.path}: {'tried once' if tries == 1 else f'tried {tries} times'} in {took:.1f} s; {text}; "
                    f"{'nothing was done' if is_known or method == 'GET' else 'it is not known whether it was done'}",
                    outcome_known=is_known or method == "GET",
                )
            await asyncio.sleep(pause)

    async def _once(
        self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str] | None, limit_s: float
    ) -> Answered:
        async with self._sent(method, url, body, headers, limit_s) as response:
            return Answered(response.status, response.headers, await response.read())

    @asynccontextmanager
    async def _sent(
        self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str] | None, limit_s: float | None
    ) -> AsyncGenerator[ClientResponse]:
        if self._session is None:
            raise UnavailableError("this client is closed")
        given = dict(headers or {})
        if body is not None:
            given.setdefault("content-type", "application/json")
        limit = aiohttp.ClientTimeout(total=limit_s, sock_connect=_CONNECT_S)
        async with self._session.request(
            method, url, data=None if body is None else BytesIO(body), headers=given, timeout=limit, allow_redirects=False
        ) as response:  # fmt: skip
            yield response

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str]) -> AsyncGenerator[ClientResponse]:
        """Open a stream of events.

        Raises:
            StepwellError: What the server's problem stands for. aiohttp's own errors: the connection could not be had.
        """
        async with self._sent("GET", URL(self.url + path, encoded=True), None, headers, None) as response:
            if response.status >= _ERRORS_FROM:
                raise error_of(response.status, response.headers, await response.read())
            yield response


def _nothing_done(failure: StepwellError) -> bool:
    return not isinstance(failure, UnavailableError) or failure.outcome_known


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
