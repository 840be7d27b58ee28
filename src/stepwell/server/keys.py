"""Who asks: keys, what each may do, and how often a wrong one may be shown.

A key is ``swk_<id>_<secret>``. The store holds the hash of the secret; what it holds is looked at again every other second, so a
key that is revoked counts no more soon after, also on connections that are open.
"""

import asyncio
import hmac
import json
import re
import secrets
import string
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from stepwell.engine.access_calls import KeyBook, NewKey
from stepwell.engine.audit import Audit
from stepwell.errors import AuthenticationError, RateLimitedError, StepwellError
from stepwell.store.access import KeyRow

Scope: TypeAlias = Literal["read", "trigger", "signal", "operate", "worker", "records:*:r", "records:*:w", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "trigger", "signal", "operate", "worker", "records:*:r", "records:*:w", "admin")
"""Of records also ``records:<name>:r`` and ``:w``, for one collection."""
_OF_RECORDS: Final = re.compile(r"records:[^\u0000-\u001f\u007f-\u009f]{1,200}:[rw]")

_MINUTE_MS: Final = 60_000
_FRESH_MS: Final = 2_000
"""How old what is known of the keys may be."""
_MISSED_MS: Final = 250
"""How old it may be when a key is asked for that is not among them: it may have been made a moment ago."""
_ADDRESSES_MAX: Final = 10_000
_FORM: Final = re.compile(r"Bearer swk_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_ID_LETTERS: Final = string.ascii_lowercase + string.digits
_REFUSED: Final = "a valid key is needed: send `Authorization: Bearer swk_...`"
_FIXED: Final = "environment"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is at the other end of a connection. ``workflows`` are prefixes of the names that it may touch; none: all."""

    key_id: str
    scopes: frozenset[str]
    workflows: tuple[str, ...] = ()
    triggers_per_second: int | None = None

    def may(self, scope: str, collection: str | None = None) -> bool:
        """Tell whether a scope is granted, one of records for this collection; ``admin`` grants all."""
        if scope in self.scopes or "admin" in self.scopes:
            return True
        return collection is not None and scope.startswith("records:") and scope.replace("*", collection, 1) in self.scopes

    def sees(self, workflow: str) -> bool:
        """Tell whether runs of this workflow may be touched."""
        return not self.workflows or workflow.startswith(self.workflows)


def is_scope(text: str) -> bool:
    """Tell whether a key may be given this scope."""
    return text in SCOPES or _OF_RECORDS.fullmatch(text) is not None


ANYBODY: Final = Identity("", frozenset(SCOPES))
"""Whoever asks a server that takes no keys."""

NOBODY: Final = Identity("", frozenset())
"""Whoever has shown no key."""


def new_key(wanted: NewKey, *, now_ms: int) -> tuple[str, KeyRow]:
    """Draw a key; return what to show once, and what to keep."""
    key_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    secret = secrets.token_urlsafe(32)
    row = KeyRow(
        key_id=key_id, name=wanted.name, secret_hash=_hashed(secret), scopes=json.dumps(list(dict.fromkeys(wanted.scopes))),
        workflows=json.dumps(list(dict.fromkeys(wanted.workflows))), created_at=now_ms,
        triggers_per_second=wanted.triggers_per_second,
        expires_at=None if wanted.expires_ms is None else now_ms + wanted.expires_ms,
    )  # fmt: skip
    return f"swk_{key_id}_{secret}", row


def counts(key: KeyRow, now_ms: int) -> bool:
    """Tell whether a key is neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or now_ms < key.expires_at)


class Keys:
    """Tells who asks.

    Args:
        book: Where the keys are; None where there are none.
        audit: Where it is noted that a key is used for the first time.
        fixed: A key that is valid besides those, for all; None for none.
        is_open: No key is needed.
        failures_max: Wrong keys from one address in a minute.
    """

    def __init__(self, book: KeyBook | None, audit: Audit, *, fixed: str | None, is_open: bool, failures_max: int) -> None:
        self._book = book
        self._audit = audit
        self._fixed = None if fixed is None else sha256(f"Bearer {fixed}".encode()).digest()
        self.is_open = is_open
        self._failures_max = failures_max
        self._failures: dict[str, list[int]] = {}
        self._known: dict[str, KeyRow] = {}
        self._known_at_ms = 0
        self._reading = asyncio.Lock()
        self._used: dict[str, int] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def identify(self, authorization: str, address: str, now_ms: int) -> Identity:
        """Return who shows this header.

        Raises:
            AuthenticationError: Nobody who is known. RateLimitedError: and that too often.
        """
        if self.is_open:
            return ANYBODY
        if self._fixed is not None:
            shown = sha256(authorization.encode("utf-8", "replace")).digest()
            if hmac.compare_digest(shown, self._fixed):
                return Identity(_FIXED, frozenset(SCOPES))
        form = _FORM.fullmatch(authorization)
        key = None if form is None else await self._find(form[1], now_ms)
        # A miss is compared too: how long the answer takes says nothing about which ids there are.
        expected = "0" * 64 if key is None else key.secret_hash
        fits = hmac.compare_digest(_hashed("" if form is None else form[2]).encode(), expected.encode())
        if key is None or not fits or not counts(key, now_ms):
            raise self.failed(address, now_ms, _REFUSED)
        is_first = key.used_at is None and key.key_id not in self._used
        self._use(key, now_ms)
        if is_first:
            await self._audit.note(key.key_id, "useKey", key.key_id, address=address, result="first")
        return _identity(key)

    def look_again(self) -> None:
        """Have the next key that is shown looked up in the store: one was made."""
        self._known_at_ms = 0

    async def who(self, key_id: str, now_ms: int) -> Identity | None:
        """Return who has this key; None if it counts no more."""
        if self.is_open:
            return ANYBODY
        if key_id == _FIXED:
            return None if self._fixed is None else Identity(_FIXED, frozenset(SCOPES))
        key = await self._find(key_id, now_ms)
        return None if key is None or not counts(key, now_ms) else _identity(key)

    async def is_valid(self, identity: Identity, now_ms: int) -> bool:
        """Tell whether who was known a while ago still is."""
        if self.is_open or identity.key_id in {"", _FIXED}:
            return True
        await self._refresh(now_ms, _FRESH_MS)
        key = self._known.get(identity.key_id)
        return key is not None and counts(key, now_ms)

    async def _find(self, key_id: str, now_ms: int) -> KeyRow | None:
        await self._refresh(now_ms, _FRESH_MS if key_id in self._known else _MISSED_MS)
        return self._known.get(key_id)

    async def _refresh(self, now_ms: int, age_ms_max: int) -> None:
        if self._book is None or abs(now_ms - self._known_at_ms) < age_ms_max:
            return
        async with self._reading:
            # Whoever has waited here for another has what that one has read.
            if abs(now_ms - self._known_at_ms) >= age_ms_max:
                self._known = {key.key_id: key for key in await self._book.keys()}
                self._known_at_ms = now_ms

    def _use(self, key: KeyRow, now_ms: int) -> None:
        """Keep when it was used last, to the minute, without making anybody wait for it."""
        minute = now_ms // _MINUTE_MS
        if self._book is None or self._used.get(key.key_id) == minute or (key.used_at or 0) // _MINUTE_MS == minute:
            return
        self._used[key.key_id] = minute
        task = asyncio.get_running_loop().create_task(_quietly(self._book, key.key_id))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    def failed(self, address: str, now_ms: int, why: str) -> Exception:
        """Count that something wrong was shown, and return what to raise."""
        recent = [at for at in self._failures.get(address, ()) if at > now_ms - _MINUTE_MS]
        if len(recent) >= self._failures_max:
            after_s = max(1, (recent[0] + _MINUTE_MS - now_ms) / 1000)
            limit = "failed_keys_per_minute_max"
            return RateLimitedError(f"too many requests with a wrong key ({limit})", retry_after=after_s, limit=limit)
        recent.append(now_ms)
        if len(self._failures) >= _ADDRESSES_MAX:
            self._failures.pop(next(iter(self._failures)))
        self._failures[address] = recent
        return AuthenticationError(why)


def _identity(key: KeyRow) -> Identity:
    return Identity(key.key_id, frozenset(json.loads(key.scopes)), tuple(json.loads(key.workflows)), key.triggers_per_second)


def _hashed(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


async def _quietly(book: KeyBook, key_id: str) -> None:
    try:
        await book.use_key(key_id)
    except StepwellError:
        return  # when it was used last is told by the next use
