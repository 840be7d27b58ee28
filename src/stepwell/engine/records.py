"""The records of collections: what clients ask, put to the store of this node."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, Protocol

import msgspec

from stepwell import codec
from stepwell.durations import from_ms
from stepwell.engine.record_calls import RecordsAsked
from stepwell.engine.watchers import Watchers
from stepwell.errors import ConflictError, NotFoundError, PayloadTooLargeError, StepwellError, ValidationError
from stepwell.model import CollectionIndex, CollectionSettings, Page, RecordChange, RecordPage
from stepwell.progress import WriteRecords
from stepwell.records.collections import read_settled, wanted_indexes, wanted_schema
from stepwell.records.evaluation import fits
from stepwell.records.expressions import Comparison, Every, Expression, Path
from stepwell.records.moments import settle
from stepwell.records.parsing import parse
from stepwell.records.sorting import chosen, parse_fields, parse_sort
from stepwell.settings import Settings
from stepwell.store.base import Operation, Store
from stepwell.store.records import (
    BuildIndex,
    Built,
    Changes,
    CollectionRow,
    Configure,
    Configured,
    DropKeys,
    RecordQuery,
    Written,
)

_BUILT_AT_ONCE: Final = 1_000
_CHANGES_AT_ONCE: Final = 100
_CURSOR_BYTES_MAX: Final = 3_000
"""A cursor is part of a URL, which may be 8 KiB long, the filter included."""

_decode_changes: Final = msgspec.json.Decoder(list[tuple[Any, str, msgspec.Raw]]).decode


class Home(Protocol):
    """The node, as its records see it."""

    store: Store
    settings: Settings
    written: Watchers

    def here(self) -> None: ...

    async def submit(self, operation: Operation) -> Any: ...


class EmbeddedRecords:
    """Implements ``Records``."""

    def __init__(self, node: Home) -> None:
        self._node = node

    async def get(self, collection: str, id: str, fields: str | None) -> dict[str, Any]:
        """See ``Records.get``."""
        self._node.here()
        paths = parse_fields(fields)
        text = await self._node.store.find_record(collection, id)
        if text is None:
            raise NotFoundError(f"there is no record {id!r} in collection {collection!r}")
        return _shown(text, paths)

    async def page(self, asked: RecordsAsked, page: int, per_page: int, *, skip_total: bool) -> RecordPage:
        """See ``Records.page``."""
        query, paths = self._query(asked)
        query.limit, query.offset, query.with_total = per_page, (page - 1) * per_page, not skip_total
        found = await self._node.store.list_records(query)
        if found.is_cut:
            limit = query.bytes_max
            raise PayloadTooLargeError(
                f"the page has more than {limit:,} bytes (page_bytes_max): ask for fewer records at once", limit_bytes=limit
            )
        return RecordPage(
            items=[_shown(text, paths) for text in found.texts], page=page, per_page=per_page, total_items=found.total,
            total_pages=None if found.total is None else -(-found.total // per_page),
        )  # fmt: skip

    async def walk(self, asked: RecordsAsked, limit: int, cursor: str | None) -> Page[dict[str, Any]]:
        """See ``Records.walk``."""
        query, paths = self._query(asked)
        query.limit = limit + 1
        query.behind = None if cursor is None else await self._behind(cursor, asked)
        found = await self._node.store.list_records(query)
        texts = found.texts[:limit]
        more = found.is_cut or len(found.texts) > limit
        items = [_shown(text, paths) for text in texts]
        return Page(items, _cursor(msgspec.json.decode(texts[-1]), query, asked) if more else None)

    async def _behind(self, cursor: str, asked: RecordsAsked) -> dict[str, Any]:
        """Return what a cursor tells of the record behind which the list goes on."""
        told = _read_cursor(cursor, asked)
        if told.updated is None:
            return told.record
        text = await self._node.store.find_record(asked.collection, told.record["id"])
        record: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
        if record.get("updated") != told.updated:
            raise ConflictError(
                f"record {told.record['id']!r}, behind which this list was to go on, was changed or deleted, and what it is"
                f" sorted by is too long to be kept in a cursor: begin again"
            )
        return record

    async def count(self, asked: RecordsAsked) -> int:
        """See ``Records.count``."""
        query, _ = self._query(asked)
        query.with_total = True
        found = await self._node.store.list_records(query)
        return found.total or 0

    def _query(self, asked: RecordsAsked) -> tuple[RecordQuery, tuple[Path, ...]]:
        self._node.here()
        query = RecordQuery(
            collection=asked.collection, where=self._where(asked), sort=parse_sort(asked.sort),
            bytes_max=self._node.settings.page_bytes_max,
        )  # fmt: skip
        return query, parse_fields(asked.fields)

    def _where(self, asked: RecordsAsked) -> Expression | None:
        where = None if asked.filter is None else parse(asked.filter)
        return None if where is None else settle(where, self._node.store.now_ms())

    async def write(self, request: WriteRecords) -> list[dict[str, Any] | None]:
        """See ``Records.write``."""
        self._node.here()
        limit = self._node.settings.batch_bytes_max
        if request.size > limit:
            text = f"all records together have {request.size:,} bytes of JSON; at once may be written {limit:,} (batch_bytes_max)"
            raise PayloadTooLargeError(text, size_bytes=request.size, limit_bytes=limit)
        written = await self._node.submit(request)
        assert isinstance(written, Written)
        if written.error is not None:
            raise written.error
        return [None if text is None else codec.decode(text) for text in written.records]

    # -- changes

    async def place(self, collection: str, after: int | None = None) -> int:
        """See ``Records.place``."""
        return (await self._changes(collection, after, 0)).seq

    async def _changes(self, collection: str, after: int | None, limit: int) -> Changes:
        self._node.here()
        found = await self._node.store.record_changes(collection, after, limit)
        if found.is_gap:
            raise ConflictError(f"collection {collection!r} has moved too far on: what came behind {after} is forgotten already")
        if after is not None and after > found.seq:
            raise ConflictError(f"collection {collection!r} stands at {found.seq}: {after} has never been")
        return found

    async def changes(
        self, asked: RecordsAsked, after: int | None, passed: Callable[[int], None] | None = None
    ) -> AsyncIterator[RecordChange]:
        """See ``Records.changes``."""
        self._where(asked)
        paths = parse_fields(asked.fields)
        name, node = asked.collection, self._node
        seen = await self.place(name) if after is None else after
        while True:
            node.here()
            moved = node.written.for_move(name)
            try:
                found = await self._changes(name, seen, _CHANGES_AT_ONCE)
                for row in found.rows:
                    seen = row.seq
                    for action, record_id, was in _decode_changes(row.changes):
                        text = bytes(was).decode() if action == "delete" else found.records.get(record_id)
                        # One that is gone by now, or was deleted since, is told of when its turn comes.
                        if text is not None and self._fits(asked, text):
                            yield RecordChange(action=action, record=_shown(text, paths), seq=seen)
                if passed is not None:
                    passed(seen)
                if not found.rows:
                    # Being told is a hint that may get lost on its way from another process.
                    await asyncio.wait([moved], timeout=node.settings.poll_ms / 1000)
            finally:
                node.written.forget(name, moved)

    def _fits(self, asked: RecordsAsked, text: str) -> bool:
        where = self._where(asked)
        return where is None or fits(where, msgspec.json.decode(text))

    # -- settings

    async def configure(self, collection: str, indexes: Any, schema: Any) -> CollectionSettings:
        """See ``Records.configure``."""
        wanted = None if indexes is None else wanted_indexes(indexes)
        text = None
        if schema is not None:
            # In a thread: what checks it is loaded on first use.
            text = codec.encode(await asyncio.to_thread(wanted_schema, schema) or None, field="schema")
        row, making = await self._configure(collection, wanted, text)
        for number in making:
            error = await self._build(collection, number)
            if error is not None:
                kept = [
                    (index.fields, index.unique) for index in read_settled(row.settled).indexes if index.number != number
                ]  # fmt: skip
                await self._configure(collection, kept, None)
                raise error
        return await self.settings_of(collection)

    async def _configure(
        self, collection: str, indexes: Sequence[tuple[tuple[str, ...], bool]] | None, schema: str | None
    ) -> tuple[CollectionRow, list[int]]:
        node = self._node
        node.here()
        request = Configure(name=collection, indexes=indexes, schema=schema, at_ms=node.store.now_ms())
        done = await node.submit(request)
        assert isinstance(done, Configured)
        for number in done.dropped:
            while await node.submit(DropKeys(collection=collection, number=number, limit=_BUILT_AT_ONCE)):
                pass
        return done.row, done.making

    async def _build(self, collection: str, number: int) -> StepwellError | None:
        """Enter all records into an index, some with each commit, so that others can write meanwhile."""
        after = ""
        while True:
            built = await self._node.submit(
                BuildIndex(collection=collection, number=number, after=after, limit=_BUILT_AT_ONCE)
            )  # fmt: skip
            assert isinstance(built, Built)
            if built.last is None:
                return built.error
            after = built.last

    async def settings_of(self, collection: str) -> CollectionSettings:
        """See ``Records.settings_of``."""
        self._node.here()
        row = await self._node.store.find_collection(collection)
        if row is None:
            raise NotFoundError(f"there is no collection {collection!r}")
        return _settings(row)

    async def collections(self) -> list[CollectionSettings]:
        """See ``Records.collections``."""
        self._node.here()
        return [_settings(row) for row in await self._node.store.collections()]


def _shown(text: str, paths: tuple[Path, ...]) -> dict[str, Any]:
    record: dict[str, Any] = codec.decode(text)
    return chosen(record, paths) if paths else record


def _settings(row: CollectionRow) -> CollectionSettings:
    settled = read_settled(row.settled)
    indexes = [CollectionIndex(fields=list(each.fields), unique=each.unique, ready=each.is_ready) for each in settled.indexes]
    return CollectionSettings(
        name=row.name, indexes=indexes, schema=settled.schema, created_at=from_ms(row.created_at),
        updated_at=from_ms(row.updated_at),
    )  # fmt: skip


class _Cursor(msgspec.Struct, array_like=True):
    """Where a record stands in a list: its id, and the fields that decide. Where they are too long, ``updated`` says of which of
    its states they are."""

    record: dict[str, Any]
    seal: str
    updated: str | None = None


def _cursor(last: dict[str, Any], query: RecordQuery, asked: RecordsAsked) -> str:
    paths = [("id",), *(term.path for term in query.sort), *_compared(query.where)]
    told = _Cursor(chosen(last, tuple(paths)), _seal(asked))
    text = msgspec.json.encode(told)
    if len(text) > _CURSOR_BYTES_MAX:
        text = msgspec.json.encode(_Cursor({"id": last["id"]}, told.seal, last["updated"]))
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _compared(where: Expression | None) -> list[Path]:
    """Return the fields that an index may be used for."""
    if isinstance(where, Every):
        return [path for part in where.parts for path in _compared(part)]
    return [where.path] if isinstance(where, Comparison) and where.operator == "=" else []


def _read_cursor(cursor: str, asked: RecordsAsked) -> _Cursor:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        told = msgspec.json.decode(text, type=_Cursor)
    except ValueError:
        told = _Cursor({}, "")
    if told.seal != _seal(asked) or not isinstance(told.record.get("id"), str):
        raise ValidationError(f"cursor is not one of this list: {cursor!r:.80}", field="cursor")
    return told


def _seal(asked: RecordsAsked) -> str:
    # What is shown of each record may change from page to page; which are listed, and in which order, may not.
    listed = msgspec.json.encode(msgspec.structs.replace(asked, fields=None))
    return blake2b(listed, digest_size=6).hexdigest()
