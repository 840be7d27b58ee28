"""Keys of servers, and the audit log."""

from uuid_utils import uuid7

from stepwell.clock import Clock
from stepwell.store.access import AuditRow, KeepKey, KeepTicket, KeyRow, Note, TakeTicket, TouchKey, oldest_id
from stepwell.store.base import Store
from tests.store.acting import Node

KEY = KeyRow(key_id="abcdefgh", name="n", secret_hash="0f", scopes='["read"]', workflows="[]", created_at=5, expires_at=99)


async def test_a_key_is_added_once(store: Store, node: Node):
    for _ in range(2):  # the answer to the first was lost, say
        assert await node.do(KeepKey(key=KEY)) == 1
    assert await node.do(KeepKey(key=KEY._replace(secret_hash="ff"))) == 0
    assert await store.keys() == [KEY]


async def test_a_key_is_used_and_revoked_for_good(store: Store, node: Node):
    await node.do(KeepKey(key=KEY))
    assert await node.do(TouchKey(key_id="abcdefgh", at_ms=60, revoke=False)) == 1
    assert await node.do(TouchKey(key_id="abcdefgh", at_ms=50, revoke=False)) == 0, "it never goes back"
    assert await node.do(TouchKey(key_id="abcdefgh", at_ms=70, revoke=True)) == 1
    assert await node.do(TouchKey(key_id="abcdefgh", at_ms=80, revoke=True)) == 0
    assert await node.do(TouchKey(key_id="unknown0", at_ms=80, revoke=True)) == 0
    assert await store.keys() == [KEY._replace(used_at=60, revoked_at=70)]


def _ticket(name: str, *, at_ms: int = 10, expires_ms: int = 40, key_id: str = "abcdefgh") -> KeepTicket:
    return KeepTicket(ticket_hash=name, key_id=key_id, at_ms=at_ms, expires_ms=expires_ms, tickets_max=2)


async def test_a_ticket_is_taken_once_and_in_time(node: Node):
    assert await node.do(_ticket("one")) == 1
    assert await node.do(_ticket("two")) == 1
    assert await node.do(TakeTicket(ticket_hash="one", at_ms=39)) == 1
    assert await node.do(TakeTicket(ticket_hash="one", at_ms=39)) == 0
    assert await node.do(TakeTicket(ticket_hash="two", at_ms=40)) == 0
    assert await node.do(TakeTicket(ticket_hash="never", at_ms=0)) == 0


async def test_a_key_has_so_many_tickets_and_no_more_until_some_are_used_or_late(node: Node):
    assert [await node.do(_ticket(name)) for name in ("a", "b", "c")] == [1, 1, 0]
    assert await node.do(_ticket("d", key_id="another0")) == 1, "each key has its own"
    await node.do(TakeTicket(ticket_hash="a", at_ms=20))
    assert [await node.do(_ticket(name, at_ms=20, expires_ms=60)) for name in ("e", "f")] == [1, 0]
    assert await node.do(_ticket("f", at_ms=40, expires_ms=70)) == 1, "those that nobody has used in time are forgotten"
    assert await node.do(TakeTicket(ticket_hash="b", at_ms=0)) == 0


async def test_a_ticket_that_is_added_again_is_the_same_one(node: Node):
    assert [await node.do(_ticket("a")) for _ in range(2)] == [1, 1]
    assert [await node.do(TakeTicket(ticket_hash="a", at_ms=20)) for _ in range(2)] == [1, 0]


def test_ids_begin_with_their_time():
    drawn, now_ms = str(uuid7()), Clock().now_ms()
    assert oldest_id(now_ms - 1_000) < drawn < oldest_id(now_ms + 1_000)


async def test_the_audit_log_is_read_in_order_and_forgets_what_is_too_old(store: Store, node: Node):
    def row(at: int) -> AuditRow:
        return AuditRow(f"{oldest_id(at)}-7000-8000-000000000000", at, "k", "a", "t", "127.0.0.1", "200")

    first, second, third = row(10_000), row(20_001), row(30_000)
    for _ in range(2):  # the answer to the first was lost, say
        assert await node.do(Note(rows=[first, second], since_ms=0)) == 2
    assert await store.audit("", 10) == [first, second]
    assert await store.audit(first.audit_id, 10) == [second]
    await node.do(Note(rows=[third], since_ms=20_001))
    assert await store.audit("", 10) == [second, third]
    assert await store.audit("", 1) == [second]
