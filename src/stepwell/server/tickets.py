"""Tickets: what a browser's ``EventSource``, which can send no header, shows in the URL instead of a key.

A ticket stands for the key that has asked for it, for one stream that is begun within half a minute. The store holds its hash,
and whoever takes it away is let in: so it is good at every server on the store, and only once.
"""

import re
import secrets
from hashlib import sha256
from typing import Final

from stepwell.engine.access_calls import KeyBook
from stepwell.errors import NotFoundError, RateLimitedError
from stepwell.server.keys import Identity, Keys
from stepwell.settings import ServerSettings

_FORM: Final = re.compile(r"swt_([a-z0-9]*)_[A-Za-z0-9_-]{43}")
_REFUSED: Final = "a ticket is good for one stream, begun in time: get another by POST /api/tickets"


class Tickets:
    """Makes and takes tickets.

    Args:
        book: Where they are; None where there is no store.
        keys: Those that they stand for.
        limits: How many, and for how long.
    """

    def __init__(self, book: KeyBook | None, keys: Keys, limits: ServerSettings) -> None:
        self._book = book
        self._keys = keys
        self._limits = limits

    async def make(self, identity: Identity, now_ms: int) -> tuple[str, int]:
        """Return a ticket for what this key may do, and until when it is good.

        Raises:
            RateLimitedError: The key has too many that it has not used.
        """
        if self._book is None:
            raise NotFoundError("this server has no store of its own, and so no tickets")
        ticket = f"swt_{identity.key_id}_{secrets.token_urlsafe(32)}"
        expires_ms, most = now_ms + self._limits.ticket_ms, self._limits.tickets_per_key_max
        if not await self._book.keep_ticket(_hashed(ticket), identity.key_id, expires_ms, most):
            limit = "tickets_per_key_max"
            raise RateLimitedError(f"too many tickets of this key that were not used ({limit})", retry_after=1, limit=limit)
        return ticket, expires_ms

    async def identify(self, ticket: str, address: str, now_ms: int) -> Identity:
        """Return who may do what with this ticket, which is used up by that.

        Raises:
            AuthenticationError: It is not good. RateLimitedError: and that too often.
        """
        form = _FORM.fullmatch(ticket)
        is_good = form is not None and self._book is not None and await self._book.take_ticket(_hashed(ticket))
        # The hash is of the whole ticket, so the id in it is the one that it was made with.
        identity = await self._keys.who(form[1], now_ms) if form is not None and is_good else None
        if identity is None:
            raise self.refused(address, now_ms)
        return identity

    def refused(self, address: str, now_ms: int) -> Exception:
        """Count a ticket that is not good, or not good for this, and return what to raise: the same for all."""
        return self._keys.failed(address, now_ms, _REFUSED)


def _hashed(ticket: str) -> str:
    return sha256(ticket.encode()).hexdigest()
