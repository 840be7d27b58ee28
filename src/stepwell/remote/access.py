"""Keys and the audit log of a server, over its REST routes."""

from typing import Final
from urllib.parse import quote

import msgspec

from stepwell.engine.access_calls import AuditEntry, KeyInfo, MadeKey, NewKey
from stepwell.remote.http import Http

_KEYS: Final = "/api/keys"
_ENTRIES_MAX: Final = 500


class _NewKey(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str
    scopes: list[str]
    workflows: list[str] = []
    expires: str | None = None
    triggers_per_second: int | None = None


class _Keys(msgspec.Struct):
    items: list[KeyInfo]


class _Entries(msgspec.Struct):
    items: list[AuditEntry]


_encode: Final = msgspec.json.Encoder().encode
_made: Final = msgspec.json.Decoder(MadeKey).decode
_key: Final = msgspec.json.Decoder(KeyInfo).decode
_keys: Final = msgspec.json.Decoder(_Keys).decode
_entries: Final = msgspec.json.Decoder(_Entries).decode


class RemoteAccess:
    """A part of ``RemoteEngine``. Implements ``KeyDesk`` and ``AuditLog``."""

    _http: Http

    async def create_key(self, wanted: NewKey) -> MadeKey:
        """See ``KeyDesk.create_key``. If the answer is lost, a key may be there that nobody holds: revoke it."""
        expires = None if wanted.expires_ms is None else f"{wanted.expires_ms}ms"
        body = _NewKey(wanted.name, list(wanted.scopes), list(wanted.workflows), expires, wanted.triggers_per_second)
        return _made(await self._http.ask("POST", _KEYS, body=_encode(body), is_safe=False))

    async def list_keys(self) -> list[KeyInfo]:
        """See ``KeyDesk.list_keys``."""
        return _keys(await self._http.ask("GET", _KEYS)).items

    async def revoke_key(self, key_id: str) -> KeyInfo:
        """See ``KeyDesk.revoke_key``."""
        return _key(await self._http.ask("DELETE", f"{_KEYS}/{quote(key_id, safe='')}"))

    async def audit(self, after: str, limit: int) -> list[AuditEntry]:
        """See ``AuditLog.audit``."""
        query = {"limit": str(min(limit, _ENTRIES_MAX)), **({"cursor": after} if after else {})}
        return _entries(await self._http.ask("GET", "/api/audit", query=query)).items
