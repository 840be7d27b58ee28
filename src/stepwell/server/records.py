"""Routes of collections and their records."""

from collections.abc import AsyncIterator
from hashlib import blake2b
from typing import Any, Final

import msgspec

from stepwell.checks import check_name
from stepwell.client.collections import check_page
from stepwell.client.requests import new_id
from stepwell.engine.record_calls import Records, RecordsAsked
from stepwell.errors import StepwellError, ValidationError
from stepwell.model import RecordChange
from stepwell.progress import RecordWrite, WriteRecords
from stepwell.records.contents import check_collection, check_id, check_match, write_of
from stepwell.server.answers import Answer, answer, encode
from stepwell.server.bodies import (
    ConfigureBody,
    DeletedRecord,
    NoQuery,
    RecordList,
    RecordQuery,
    RecordsQuery,
    WriteBody,
    WritesBody,
    WrittenItem,
)
from stepwell.server.events import last_event_id
from stepwell.server.problems import BadField, invalid
from stepwell.server.requests import Request
from stepwell.server.streams import EVENT_STREAM, stream

_STATUS: Final = {"create": 201, "update": 200, "upsert": 200, "delete": 200}


async def list_(request: Request) -> Answer:
    """List records: a page, or what is behind a cursor, or only how many there are; as an event stream, what becomes of them."""
    query = request.query(RecordsQuery)
    records = request.world.engine.records
    asked = RecordsAsked(collection=_collection(request), filter=query.filter, sort=query.sort, fields=query.fields)
    if EVENT_STREAM in request.headers.get("accept", ""):
        return await _followed(request, records, asked, query.after)
    if query.count == "only":
        return answer(RecordList(items=[], total_items=await records.count(asked)))
    if query.cursor is not None:
        walked = await records.walk(asked, query.per_page, query.cursor or None)
        return answer(RecordList(items=walked.items, next_cursor=walked.next_cursor))
    check_page(query.page, query.per_page)
    page = await records.page(asked, query.page, query.per_page, skip_total=query.skip_total)
    return answer(
        RecordList(
            items=page.items, page=page.page, per_page=page.per_page, total_items=page.total_items, total_pages=page.total_pages
        )
    )


async def get(request: Request) -> Answer:
    """Show a record; its ``ETag`` is what ``If-Match`` takes."""
    query = request.query(RecordQuery)
    return _shown(await request.world.engine.records.get(_collection(request), request.parts["recordId"], query.fields))


async def create(request: Request) -> Answer:
    """Make a record."""
    request.query(NoQuery)
    name = _collection(request)
    write = _written_as(request, "create", await request.json(), None)
    record = await _write_one(request, name, write)
    return _shown(record, 201, {"location": f"/api/collections/{request.path.split('/')[3]}/records/{record['id']}"})


async def update(request: Request) -> Answer:
    """Replace fields of a record; those that the body does not name stay."""
    request.query(NoQuery)
    write = _written_as(request, "update", await request.json(), check_id(request.parts["recordId"]))
    return _shown(await _write_one(request, _collection(request), write))


async def delete(request: Request) -> Answer:
    """Delete a record."""
    request.query(NoQuery)
    name, record_id = _collection(request), check_id(request.parts["recordId"])
    request.target = f"{name}/{record_id}"
    await _write_one(request, name, RecordWrite(action="delete", id=record_id, if_match=_if_match(request)))
    return answer(DeletedRecord(id=record_id))


async def batch(request: Request) -> Answer:
    """Write up to 1,000 records in one commit: all of them, or none."""
    request.query(NoQuery)
    name = _collection(request)
    body = await request.body(WritesBody)
    deleted = [f"{name}/{each.id}" for each in body.writes if each.action == "delete"]
    request.is_noted, request.target = bool(deleted), " ".join(deleted)
    try:
        writes = [_one_of_many(request, place, each) for place, each in enumerate(body.writes)]
        records = await _write(request, name, writes, is_one=False)
    except ValidationError as error:
        top, _, rest = error.field.partition("/")
        place, slash, within = rest.partition("/")
        raise type(error)(str(error), field=f"writes/{place}/{top}{slash}{within}" if place else error.field) from None
    items = [
        WrittenItem(status=_STATUS[write.action], id=write.id, record=record)
        for write, record in zip(writes, records, strict=True)
    ]  # fmt: skip
    return answer({"items": items, "nextCursor": None})


async def collections(request: Request) -> Answer:
    """List the collections, by name."""
    request.query(NoQuery)
    return answer({"items": await request.world.engine.records.collections(), "nextCursor": None})


async def settings(request: Request) -> Answer:
    """Show what is settled for a collection."""
    request.query(NoQuery)
    return answer(await request.world.engine.records.settings_of(_collection(request)))


async def configure(request: Request) -> Answer:
    """Settle indexes and schema; what is not given stays. Answers when the indexes are ready."""
    request.query(NoQuery)
    name = request.target = _collection(request)
    body = await request.body(ConfigureBody)
    indexes = None if body.indexes is None else [{"fields": each.fields, "unique": each.unique} for each in body.indexes]
    return answer(await request.world.engine.records.configure(name, indexes, body.schema))


def _collection(request: Request) -> str:
    return check_collection(request.parts["name"])


def _shown(record: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    updated = record.get("updated")
    tag = {"etag": f'"{updated}"'} if isinstance(updated, str) else {}
    return answer(record, status, {**(headers or {}), **tag})


def _if_match(request: Request) -> str | None:
    text = request.headers.get("if-match")
    if text is None or text == "*":
        return None
    try:
        return check_match(text.removeprefix('"').removesuffix('"'))
    except ValidationError:
        detail = "If-Match must be the ETag of a record, or *"
        raise invalid([BadField("/If-Match", detail, "header")]) from None


def _written_as(request: Request, action: Any, data: Any, record_id: str | None) -> RecordWrite:
    limits = request.world.engine.settings
    try:
        write = write_of(
            action, data, id=record_id, if_match=_if_match(request) if action == "update" else None,
            limit_bytes=limits.payload_bytes_max, depth_max=limits.depth_max,
        )  # fmt: skip
    except ValidationError as error:
        raise _at_body(error) from None
    return write if write.id else msgspec.structs.replace(write, id=_drawn(request, 0))


def _one_of_many(request: Request, place: int, wanted: WriteBody) -> RecordWrite:
    field, limits = f"data/{place}", request.world.engine.settings
    if wanted.action in ("update", "delete") and wanted.id is None:
        raise ValidationError(f"writes/{place} must have the id of the record", field=f"id/{place}")
    match = check_match(wanted.if_match)
    if wanted.action == "delete":
        return RecordWrite(action="delete", id=wanted.id or "", if_match=match)
    write = write_of(
        wanted.action, wanted.data, id=wanted.id, if_match=match, field=field, limit_bytes=limits.payload_bytes_max,
        depth_max=limits.depth_max,
    )  # fmt: skip
    return write if write.id else msgspec.structs.replace(write, id=_drawn(request, place))


def _drawn(request: Request, place: int) -> str:
    """Return the id of a new record: the same one for a request that is sent again."""
    key = request.headers.get("idempotency-key")
    return new_id() if key is None else blake2b(f"{key}/{place}".encode("utf-8", "replace"), digest_size=16).hexdigest()


async def _write_one(request: Request, collection: str, write: RecordWrite) -> dict[str, Any]:
    try:
        (record,) = await _write(request, collection, [write], is_one=True)
    except ValidationError as error:
        raise _at_body(error) from None
    return record or {}


async def _write(request: Request, collection: str, writes: list[RecordWrite], *, is_one: bool) -> list[dict[str, Any] | None]:
    write_id = check_name(request.headers.get("idempotency-key", new_id()), "Idempotency-Key")
    wanted = WriteRecords(collection=collection, writes=writes, write_id=write_id, is_one=is_one)
    return await request.world.engine.records.write(wanted)


def _at_body(error: ValidationError) -> ValidationError:
    """The body is the record: what is wrong in it has its place in the body."""
    top, slash, rest = error.field.partition("/")
    return type(error)(str(error), field=rest if slash else "") if top == "data" else error


# -- changes


async def _followed(request: Request, records: Records, asked: RecordsAsked, after: int | None) -> Answer:
    text = request.headers.get("last-event-id")
    given = after if text is None else max(after or 0, last_event_id(text))
    # What is no filter, or no place to begin at, is a refusal, and no stream that breaks off.
    place = await records.place(asked.collection, given)
    begin = place if given is None else given
    await records.page(asked, 1, 1, skip_total=True)
    return Answer(200, media=EVENT_STREAM, stream=_stream(request, records, asked, begin), headers={"x-accel-buffering": "no"})


def _stream(request: Request, records: Records, asked: RecordsAsked, after: int) -> AsyncIterator[bytes]:
    seen = after

    def passed(seq: int) -> None:
        nonlocal seen
        seen = seq

    def place() -> bytes:
        # So that who comes back after a long time in which nothing fitted does not begin where it was last told of something.
        return f'id: {seen}\nevent: place\ndata: {{"seq":{seen}}}\n\n'.encode()

    changes = records.changes(asked, after, passed).__aiter__()
    return stream(request, place(), changes, _frame, StepwellError, beat=place)


def _frame(change: RecordChange) -> bytes:
    return f"id: {change.seq}\nevent: {change.action}\ndata: ".encode() + encode(change) + b"\n\n"
