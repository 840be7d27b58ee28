"""Keys of servers and the audit log, as a node keeps them for whoever serves it."""

from collections.abc import Sequence

from stepwell.engine.access_calls import AuditEntry
from stepwell.engine.forks import Forks
from stepwell.engine.present import audit_entry_of
from stepwell.store.access import AuditRow, KeepKey, KeepTicket, KeyRow, Note, TakeTicket, TouchKey


class Access(Forks):
    """A part of ``EmbeddedEngine``. Implements ``KeyBook``."""

    def about(self) -> str:
        """See ``KeyBook.about``."""
        self.here()
        return self.store.about

    async def keys(self) -> list[KeyRow]:
        """See ``KeyBook.keys``."""
        self.here()
        return await self.store.keys()

    async def keep_key(self, key: KeyRow) -> bool:
        """See ``KeyBook.keep_key``."""
        self.here()
        return bool(await self.submit(KeepKey(key=key)))

    async def use_key(self, key_id: str) -> None:
        """See ``KeyBook.use_key``."""
        self.here()
        await self.submit(TouchKey(key_id=key_id, at_ms=self.store.now_ms(), revoke=False))

    async def end_key(self, key_id: str) -> bool:
        """See ``KeyBook.end_key``."""
        self.here()
        return bool(await self.submit(TouchKey(key_id=key_id, at_ms=self.store.now_ms(), revoke=True)))

    async def keep_ticket(self, ticket_hash: str, key_id: str, expires_ms: int, tickets_max: int) -> bool:
        """See ``KeyBook.keep_ticket``."""
        self.here()
        ticket = KeepTicket(
            ticket_hash=ticket_hash, key_id=key_id, at_ms=self.store.now_ms(), expires_ms=expires_ms, tickets_max=tickets_max
        )  # fmt: skip
        return bool(await self.submit(ticket))

    async def take_ticket(self, ticket_hash: str) -> bool:
        """See ``KeyBook.take_ticket``."""
        self.here()
        return bool(await self.submit(TakeTicket(ticket_hash=ticket_hash, at_ms=self.store.now_ms())))

    async def note(self, rows: Sequence[AuditRow], since_ms: int) -> None:
        """See ``KeyBook.note``."""
        self.here()
        await self.submit(Note(rows=rows, since_ms=since_ms))

    async def audit(self, after: str, limit: int) -> list[AuditEntry]:
        """See ``AuditLog.audit``."""
        self.here()
        return [audit_entry_of(row) for row in await self.store.audit(after, limit)]
