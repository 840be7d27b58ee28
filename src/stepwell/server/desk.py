"""Where keys are made, listed and revoked: the rules, for whoever asks over HTTP and for the command line alike.

Whoever makes a key cannot make one that may do more than itself, and sees no key that may.
"""

import json
from collections.abc import Sequence
from typing import Final

import msgspec

from stepwell.checks import check_int, check_name
from stepwell.engine.access_calls import KeyBook, KeyInfo, MadeKey, NewKey
from stepwell.engine.audit import Audit
from stepwell.engine.present import key_info_of
from stepwell.errors import NotFoundError, PermissionDeniedError, ValidationError
from stepwell.server.keys import ANYBODY, SCOPES, Identity, is_scope, new_key
from stepwell.store.access import KeyRow

LISTED_MAX: Final = 100
"""So many scopes or prefixes a key may have."""
RATE_MAX: Final = 1_000_000


class Desk:
    """Implements ``KeyDesk``.

    Args:
        book: Where the keys are.
        by: On whose behalf.
        audit: Where what is done is noted, as ``cli``'s; None if whoever calls notes it.
    """

    def __init__(self, book: KeyBook, by: Identity = ANYBODY, audit: Audit | None = None) -> None:
        self._book = book
        self._by = by
        self._audit = audit

    async def create_key(self, wanted: NewKey) -> MadeKey:
        """See ``KeyDesk.create_key``."""
        check_name(wanted.name, "name")
        _check_listed(wanted.scopes, "scopes")
        for place, scope in enumerate(wanted.scopes):
            if not is_scope(scope):
                known = f"{', '.join(SCOPES)}, or records:NAME:r or :w for one collection"
                raise ValidationError(f"scopes/{place} must be one of {known}; not {scope!r:.200}", field=f"scopes/{place}")
        if not wanted.scopes:
            raise ValidationError("scopes must have at least one", field="scopes")
        _check_listed(wanted.workflows, "workflows")
        for place, prefix in enumerate(wanted.workflows):
            check_name(prefix, f"workflows/{place}")
        if wanted.triggers_per_second is not None:
            check_int(wanted.triggers_per_second, "triggers_per_second", 1, RATE_MAX)
        self._check_reach(wanted)
        shown, row = new_key(wanted, now_ms=self._book.now_ms())
        await self._book.keep_key(row)
        await self._note("createKey", row.key_id)
        return MadeKey(**msgspec.structs.asdict(key_info_of(row)), key=shown)

    async def list_keys(self) -> list[KeyInfo]:
        """See ``KeyDesk.list_keys``."""
        return [key_info_of(row) for row in await self._book.keys() if self._reaches(row)]

    async def revoke_key(self, key_id: str) -> KeyInfo:
        """See ``KeyDesk.revoke_key``."""
        await self._find(key_id)
        if await self._book.end_key(key_id):
            await self._note("revokeKey", key_id)
        return key_info_of(await self._find(key_id))

    async def _find(self, key_id: str) -> KeyRow:
        for row in await self._book.keys():
            if row.key_id == key_id and self._reaches(row):
                return row
        raise NotFoundError(f"there is no key {key_id!r:.80}")

    def _reaches(self, row: KeyRow) -> bool:
        prefixes: list[str] = json.loads(row.workflows)
        return not self._by.workflows or (bool(prefixes) and all(map(self._by.sees, prefixes)))

    def _check_reach(self, wanted: NewKey) -> None:
        if not self._by.workflows:
            return
        allowed = ", ".join(f"{each!r}" for each in self._by.workflows)
        if not wanted.workflows:
            raise PermissionDeniedError(f"workflows must be given: this key may touch only those that begin with {allowed}")
        for place, prefix in enumerate(wanted.workflows):
            if not self._by.sees(prefix):
                raise PermissionDeniedError(f"workflows/{place} must begin with {allowed}, as this key's do; not {prefix!r}")

    async def _note(self, action: str, key_id: str) -> None:
        if self._audit is not None:
            await self._audit.note("cli", action, key_id)


def _check_listed(listed: Sequence[str], field: str) -> None:
    if len(listed) > LISTED_MAX:
        raise ValidationError(f"{field} must be at most {LISTED_MAX}, not {len(listed):,}", field=field)
