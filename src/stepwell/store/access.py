"""Who may ask a server, and what was done: the rows, and the operations that write them. Nothing here knows a run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from stepwell.store.plans import Change, Plan, Table, Write, change


class KeyRow(NamedTuple):
    """One row of ``api_keys``, in the order of its columns. Times are ms since 1970 UTC."""

    key_id: str
    name: str
    secret_hash: str
    """SHA-256 of the secret, in hex. The secret itself is nowhere: it has 256 bits, which need no slow hash."""
    scopes: str
    """A JSON list."""
    workflows: str
    """A JSON list of prefixes of workflow names; empty for all."""
    created_at: int
    triggers_per_second: int | None = None
    """None for no limit."""
    expires_at: int | None = None
    revoked_at: int | None = None
    used_at: int | None = None
    """To the minute."""


class AuditRow(NamedTuple):
    """One row of ``audit``, in the order of its columns."""

    audit_id: str
    """Later ids sort after earlier ones."""
    at: int
    who: str
    """The id of a key; ``cli``, ``environment``, or "" for nobody that is known."""
    action: str
    target: str
    address: str
    result: str


class KeepKey(msgspec.Struct, kw_only=True):
    """Add a key. Outcome: 1, also if it is there already, or 0 if this id is another's."""

    key: KeyRow


class TouchKey(msgspec.Struct, kw_only=True):
    """Note that a key was used, or revoke it. Outcome: how many keys changed."""

    key_id: str
    at_ms: int
    revoke: bool


class KeepTicket(msgspec.Struct, kw_only=True):
    """Add a ticket, and forget those that nobody has used in time. Outcome: 1, or 0 if its key has ``tickets_max`` already."""

    ticket_hash: str
    key_id: str
    at_ms: int
    expires_ms: int
    tickets_max: int


class TakeTicket(msgspec.Struct, kw_only=True):
    """Use a ticket up. Outcome: 1 for the first who takes it in time, else 0."""

    ticket_hash: str
    at_ms: int


class Note(msgspec.Struct, kw_only=True):
    """Append to the audit log what is not there, and forget what is older than ``since_ms``. Outcome: how many were given."""

    rows: Sequence[AuditRow]
    since_ms: int


def oldest_id(since_ms: int) -> str:
    """Return what no id of that time or later sorts before. Ids are UUIDs of version 7: they begin with their milliseconds."""
    digits = f"{max(0, since_ms):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _keep_key(keep: KeepKey) -> Plan[int]:
    return (yield from change("add_key", *keep.key[:8]))


def _touch_key(touch: TouchKey) -> Plan[int]:
    return (yield from change("revoke_key" if touch.revoke else "use_key", touch.at_ms, touch.key_id))


def _keep_ticket(keep: KeepTicket) -> Plan[int]:
    yield from change("forget_tickets", keep.at_ms)
    return (yield from change("add_ticket", keep.ticket_hash, keep.key_id, keep.expires_ms, keep.at_ms, keep.tickets_max))


def _take_ticket(take: TakeTicket) -> Plan[int]:
    return (yield from change("take_ticket", take.ticket_hash, take.at_ms))


def _note(note: Note) -> Plan[int]:
    yield [Write(_AUDIT, note.rows), Change("forget_audit", (oldest_id(note.since_ms),))]
    return len(note.rows)


_AUDIT: Final = Table("insert_audit", AuditRow._fields)
ACCESS: Final[Mapping[type[Any], Callable[[Any], Plan[int]]]] = {
    KeepKey: _keep_key, TouchKey: _touch_key, KeepTicket: _keep_ticket, TakeTicket: _take_ticket, Note: _note,
}  # fmt: skip
"""How each of these is carried out, in this order."""
