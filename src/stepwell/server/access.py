"""Routes of keys and of the audit log. A key that is for some workflows reaches only keys for these, and no audit log."""

from collections.abc import AsyncIterator
from typing import Final

from stepwell.durations import from_ms, parse_ms
from stepwell.engine.access_calls import AuditEntry, KeyBook, NewKey
from stepwell.errors import NotFoundError
from stepwell.server.answers import Answer, answer, encode
from stepwell.server.bodies import AuditQuery, KeyBody, NoQuery, Ticket
from stepwell.server.desk import Desk
from stepwell.server.requests import Request

JSON_LINES: Final = "application/x-ndjson"
_AT_ONCE: Final = 500


async def create(request: Request) -> Answer:
    """Make a key. Its secret is in this answer, and nowhere else."""
    request.query(NoQuery)
    body = await request.body(KeyBody)
    made = await _desk(request).create_key(
        NewKey(
            name=body.name, scopes=body.scopes, workflows=body.workflows, triggers_per_second=body.triggers_per_second,
            expires_ms=None if body.expires is None else parse_ms(body.expires, bare="specification", field="expires"),
        )
    )  # fmt: skip
    request.target = made.key_id
    request.world.keys.look_again()
    return answer(made, 201)


async def list_(request: Request) -> Answer:
    """List the keys, without their secrets."""
    request.query(NoQuery)
    return answer({"items": await _desk(request).list_keys(), "nextCursor": None})


async def revoke(request: Request) -> Answer:
    """End a key for good."""
    request.query(NoQuery)
    request.target = request.parts["keyId"]
    return answer(await _desk(request).revoke_key(request.target))


async def ticket(request: Request) -> Answer:
    """Make a ticket for whoever asks. It may what the key may that is shown, and ends with it."""
    request.query(NoQuery)
    world = request.world
    made, expires_ms = await world.tickets.make(request.identity, world.engine.now_ms())
    return answer(Ticket(ticket=made, expires_at=from_ms(expires_ms)), 201)


async def audit(request: Request) -> Answer:
    """Show a page of the audit log, oldest first; or, as JSON lines, all of it."""
    query = request.query(AuditQuery)
    request.must_see_all()
    book, after = _book(request), query.cursor or ""
    if JSON_LINES in request.headers.get("accept", ""):
        request.is_noted = True
        return Answer(200, media=JSON_LINES, stream=_lines(request, book, after))
    found = await book.audit(after, query.limit)
    return answer({"items": found, "nextCursor": found[-1].audit_id if len(found) == query.limit else None})


async def _lines(request: Request, book: KeyBook, after: str) -> AsyncIterator[bytes]:
    world = request.world
    with world.waiting(request.identity):
        found: list[AuditEntry] = []
        while (not found or len(found) == _AT_ONCE) and not world.stopping.is_set() and await world.is_valid(request.identity):
            found = await book.audit(after, _AT_ONCE)
            if not found:
                return
            after = found[-1].audit_id
            yield b"".join(encode(entry) + b"\n" for entry in found)


def _desk(request: Request) -> Desk:
    return Desk(_book(request), request.identity)


def _book(request: Request) -> KeyBook:
    engine = request.world.engine
    if not isinstance(engine, KeyBook):
        raise NotFoundError("this server has no store of its own, and so no keys and no audit log")
    return engine
