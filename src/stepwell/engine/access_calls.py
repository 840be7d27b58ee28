"""What can be asked about keys and the audit log: of an engine beside its store, and through a server."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

from stepwell.store.access import AuditRow, KeyRow


class NewKey(msgspec.Struct, kw_only=True):
    """A key to be made, for programs that ask a server."""

    name: str
    scopes: Sequence[str]
    workflows: Sequence[str] = ()
    """Prefixes of the workflow names that it may touch; none: all."""
    expires_ms: int | None = None
    """From now on; None: it does not."""
    triggers_per_second: int | None = None
    """How many runs it may make, on average, at each server; None: no limit."""


class KeyInfo(msgspec.Struct, kw_only=True, rename="camel"):
    """A key, without its secret."""

    key_id: str
    """The eight characters behind `swk_`."""
    name: str
    scopes: list[str]
    workflows: list[str]
    """Prefixes of the workflow names that it may touch; none: all."""
    triggers_per_second: int | None
    """How many runs it may make, on average, at each server; null: no limit."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    """To the minute."""


class MadeKey(KeyInfo, kw_only=True, rename="camel"):
    """A key that was made now."""

    key: str
    """What to show to the server. It is told this once, and never again."""


class AuditEntry(msgspec.Struct, kw_only=True, rename="camel"):
    """Something that was done."""

    audit_id: str
    """Later ids sort after earlier ones."""
    at: datetime
    who: str
    """The id of a key; `cli`, `environment`, or empty for nobody that is known."""
    action: str
    target: str
    address: str
    result: str
    """A status, or the `code` of a problem."""


@runtime_checkable
class AuditLog(Protocol):
    """What was done, by whom."""

    async def audit(self, after: str, limit: int) -> list[AuditEntry]:
        """Return the audit log in order, behind the entry ``after``; "" for the beginning.

        Raises:
            PermissionDeniedError: The key that asks may not see it.
        """
        ...


@runtime_checkable
class KeyBook(AuditLog, Protocol):
    """The keys of servers and their audit log, beside the runs. An engine that is itself behind a server has none."""

    def about(self) -> str:
        """For people: which database it is, and what it lacks."""
        ...

    def now_ms(self) -> int:
        """The store's clock."""
        ...

    async def keys(self) -> list[KeyRow]:
        """Return all keys, revoked ones too."""
        ...

    async def keep_key(self, key: KeyRow) -> bool:
        """Add a key. Returns False if its id is taken."""
        ...

    async def use_key(self, key_id: str) -> None:
        """Note that a key was used."""
        ...

    async def end_key(self, key_id: str) -> bool:
        """End a key for good. Returns False if there is none that still counts."""
        ...

    async def keep_ticket(self, ticket_hash: str, key_id: str, expires_ms: int, tickets_max: int) -> bool:
        """Add a ticket that stands for a key until then. Returns False if the key has ``tickets_max`` that are good."""
        ...

    async def take_ticket(self, ticket_hash: str) -> bool:
        """Use a ticket up. Returns False if it was used before, or its time is over, or there never was one."""
        ...

    async def note(self, rows: Sequence[AuditRow], since_ms: int) -> None:
        """Append to the audit log; forget what is older than ``since_ms``."""
        ...


@runtime_checkable
class KeyDesk(Protocol):
    """Where keys are made, listed and revoked: at a store, or at the server before it."""

    async def create_key(self, wanted: NewKey) -> MadeKey:
        """Make a key.

        Raises:
            ValidationError: A field is wrong; ``field`` says which.
            PermissionDeniedError: It would be allowed more than whoever makes it.
        """
        ...

    async def list_keys(self) -> list[KeyInfo]:
        """Return all keys, revoked ones too; of those who may see some workflows, the keys for these."""
        ...

    async def revoke_key(self, key_id: str) -> KeyInfo:
        """End a key for good. One that was revoked before is returned as it is.

        Raises:
            NotFoundError: There is no such key.
        """
        ...
