"""Who asks: keys, what each may do, and how often a wrong one may be shown."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from stepwell.errors import AuthenticationError, RateLimitedError

Scope: TypeAlias = Literal["read", "trigger", "signal", "operate", "worker", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "trigger", "signal", "operate", "worker", "admin")

_MINUTE_MS: Final = 60_000
_ADDRESSES_MAX: Final = 10_000
_REFUSED: Final = "a valid key is needed: send `Authorization: Bearer swk_...`"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is at the other end of a connection. ``workflows`` are prefixes of the names that it may touch; none: all."""

    key_id: str
    scopes: frozenset[str]
    workflows: tuple[str, ...] = ()

    def may(self, scope: str) -> bool:
        """Tell whether a scope is granted; ``admin`` grants all."""
        return scope in self.scopes or "admin" in self.scopes

    def sees(self, workflow: str) -> bool:
        """Tell whether runs of this workflow may be touched."""
        return not self.workflows or workflow.startswith(self.workflows)


ANYBODY: Final = Identity("", frozenset(SCOPES))
"""Whoever asks a server that takes no keys."""


class Keys:
    """Tells who asks.

    Args:
        fixed: A key that is valid besides those in the store, for all; None for none.
        is_open: No key is needed.
    """

    def __init__(self, now_ms: Callable[[], int], *, fixed: str | None, is_open: bool, failures_max: int) -> None:
        self._now_ms = now_ms
        self._fixed = None if fixed is None else sha256(fixed.encode()).digest()
        self.is_open = is_open
        self._failures_max = failures_max
        self._failures: dict[str, list[int]] = {}

    async def identify(self, authorization: str, address: str) -> Identity:
        """Return who shows this header.

        Raises:
            AuthenticationError: Nobody who is known. RateLimitedError: and that too often.
        """
        if self.is_open:
            return ANYBODY
        if self._fixed is not None:
            shown = sha256(authorization.removeprefix("Bearer ").encode("utf-8", "replace")).digest()
            if hmac.compare_digest(shown, self._fixed) and authorization.startswith("Bearer "):
                return Identity("environment", frozenset(SCOPES))
        raise self._failed(address)

    async def is_valid(self, identity: Identity) -> bool:
        """Tell whether who was known a while ago still is."""
        return True

    def _failed(self, address: str) -> Exception:
        now_ms = self._now_ms()
        recent = [at for at in self._failures.get(address, ()) if at > now_ms - _MINUTE_MS]
        if len(recent) >= self._failures_max:
            after_s = max(1, (recent[0] + _MINUTE_MS - now_ms) / 1000)
            return RateLimitedError("too many requests with a wrong key (failed_keys_per_minute_max)", retry_after=after_s)
        recent.append(now_ms)
        if len(self._failures) >= _ADDRESSES_MAX:
            self._failures.pop(next(iter(self._failures)))
        self._failures[address] = recent
        return AuthenticationError(_REFUSED)
