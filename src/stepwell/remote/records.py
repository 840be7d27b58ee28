"""The records of a server's collections, over its REST routes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw

from stepwell import codec
from stepwell.engine.record_calls import RecordsAsked
from stepwell.errors import PayloadTooLargeError, StepwellError, ValidationError
from stepwell.model import CollectionSettings, Page, RecordChange, RecordPage
from stepwell.progress import WriteRecords
from stepwell.records.collections import wanted_indexes, wanted_schema
from stepwell.remote.http import Http
from stepwell.remote.streams import LOST, Patience, events_in
from stepwell.settings import Settings

_BASE: Final = "/api/collections"


class _List(msgspec.Struct, rename="camel"):
    items: list[Raw]
    page: int = 1
    per_page: int = 0
    total_items: int | None = None
    total_pages: int | None = None
    next_cursor: str | None = None


class _Item(msgspec.Struct):
    record: Raw


class _Items(msgspec.Struct):
    items: list[_Item]


class _Collections(msgspec.Struct):
    items: list[CollectionSettings]


class _Write(msgspec.Struct, rename="camel", omit_defaults=True):
    action: str
    id: str
    data: Raw
    if_match: str | None = None


class _Writes(msgspec.Struct):
    writes: list[_Write]


class _Index(msgspec.Struct):
    fields: list[str]
    unique: bool


class _Configure(msgspec.Struct):
    indexes: list[_Index] | None
    schema: dict[str, Any] | None


class _Change(msgspec.Struct):
    seq: int
    action: Any = None
    record: Raw = Raw(b"null")


_list: Final = msgspec.json.Decoder(_List).decode
_items: Final = msgspec.json.Decoder(_Items).decode
_settings: Final = msgspec.json.Decoder(CollectionSettings).decode
_collections: Final = msgspec.json.Decoder(_Collections).decode
_change: Final = msgspec.json.Decoder(_Change).decode
_encode: Final = msgspec.json.Encoder().encode


class RemoteRecords:
    """Implements ``Records``."""

    def __init__(self, http: Http, settings: Settings) -> None:
        self._http = http
        self._bytes_max = settings.batch_bytes_max
        self._patience_s = settings.patience_ms / 1000

    async def get(self, collection: str, id: str, fields: str | None) -> dict[str, Any]:
        """See ``Records.get``."""
        path = f"{_records(collection)}/{quote(id, safe='')}{_query(fields=fields)}"
        record: dict[str, Any] = codec.decode(await self._http.ask("GET", path))
        return record

    async def page(self, asked: RecordsAsked, page: int, per_page: int, *, skip_total: bool) -> RecordPage:
        """See ``Records.page``."""
        skips = "true" if skip_total else "false"
        found = await self._list(asked, page=str(page), perPage=str(per_page), skipTotal=skips)
        return RecordPage(
            items=_values(found.items), page=found.page, per_page=found.per_page, total_items=found.total_items,
            total_pages=found.total_pages,
        )  # fmt: skip

    async def walk(self, asked: RecordsAsked, limit: int, cursor: str | None) -> Page[dict[str, Any]]:
        """See ``Records.walk``."""
        found = await self._list(asked, perPage=str(limit), cursor=cursor or "")
        return Page(_values(found.items), found.next_cursor)

    async def count(self, asked: RecordsAsked) -> int:
        """See ``Records.count``."""
        return (await self._list(asked, count="only")).total_items or 0

    async def _list(self, asked: RecordsAsked, **more: str) -> _List:
        return _list(await self._http.ask("GET", _asking(asked, **more)))

    async def write(self, request: WriteRecords) -> list[dict[str, Any] | None]:
        """See ``Records.write``. What is sent again is known by its id, and not done twice."""
        if request.size > self._bytes_max:
            text = f"all records together have {request.size:,} bytes of JSON; at once may be written {self._bytes_max:,}"
            raise PayloadTooLargeError(text, size_bytes=request.size, limit_bytes=self._bytes_max)
        writes = [_Write(each.action, each.id, Raw(each.data), each.if_match) for each in request.writes]
        path, headers = f"{_records(request.collection)}:batch", {"idempotency-key": request.write_id}
        try:
            body = await self._http.ask("POST", path, body=_encode(_Writes(writes)), headers=headers)
        except StepwellError as error:
            raise _as_asked(error, is_one=request.is_one) from None
        return [codec.decode(bytes(item.record)) for item in _items(body).items]

    # -- changes

    async def place(self, collection: str, after: int | None = None) -> int:
        """See ``Records.place``."""
        stream = self._follow(RecordsAsked(collection=collection), after)
        try:
            return (await anext(stream)).seq
        finally:
            await stream.aclose()

    async def changes(
        self, asked: RecordsAsked, after: int | None, passed: Callable[[int], None] | None = None
    ) -> AsyncIterator[RecordChange]:
        """See ``Records.changes``. A lost connection is opened again; what was told of by then is not told of again."""
        patience = Patience(f"the changes of collection {asked.collection!r}", self._patience_s)
        told: set[tuple[int, str, str]] = set()
        while True:
            try:
                async for found in self._follow(asked, after):
                    patience.heard()
                    if found.action is None:
                        if after is None or found.seq > after:
                            after = found.seq  # all up to there was told of
                            told.clear()
                        if passed is not None:
                            passed(found.seq)
                        continue
                    mark = (found.seq, found.action, bytes(found.record).decode())
                    if mark in told:
                        continue
                    if not any(seq == found.seq for seq, *_ in told):
                        # Those of one commit come one by one: behind it only when the next one has begun.
                        after = max((seq for seq, *_ in told), default=after)
                        told.clear()
                    told.add(mark)
                    yield RecordChange(action=found.action, record=codec.decode(bytes(found.record)), seq=found.seq)
            except LOST as error:
                await patience.again(error)

    async def _follow(self, asked: RecordsAsked, after: int | None) -> AsyncGenerator[_Change]:
        headers = {"accept": "text/event-stream"} | ({} if after is None else {"last-event-id": str(after)})
        async with self._http.stream(_asking(asked), headers) as response:
            async for text in events_in(response.content):
                yield _change(text)

    # -- settings

    async def configure(self, collection: str, indexes: Any, schema: Any) -> CollectionSettings:
        """See ``Records.configure``."""
        wanted = None if indexes is None else [_Index(list(fields), unique) for fields, unique in wanted_indexes(indexes)]
        # In a thread: what checks it is loaded on first use.
        checked = None if schema is None else await asyncio.to_thread(wanted_schema, schema)
        return _settings(await self._http.ask("PATCH", _path(collection), body=_encode(_Configure(wanted, checked))))

    async def settings_of(self, collection: str) -> CollectionSettings:
        """See ``Records.settings_of``."""
        return _settings(await self._http.ask("GET", _path(collection)))

    async def collections(self) -> list[CollectionSettings]:
        """See ``Records.collections``."""
        return _collections(await self._http.ask("GET", _BASE)).items


def _path(collection: str) -> str:
    return f"{_BASE}/{quote(collection, safe='')}"


def _records(collection: str) -> str:
    return f"{_path(collection)}/records"


def _asking(asked: RecordsAsked, **more: str) -> str:
    return _records(asked.collection) + _query(filter=asked.filter, sort=asked.sort, fields=asked.fields, **more)


def _query(**parameters: str | None) -> str:
    given: Mapping[str, str] = {name: text for name, text in parameters.items() if text is not None}
    return "?" + "&".join(f"{name}={quote(text, safe='')}" for name, text in given.items()) if given else ""


def _values(items: list[Raw]) -> list[dict[str, Any]]:
    return [codec.decode(bytes(item)) for item in items]


def _as_asked(error: StepwellError, *, is_one: bool) -> StepwellError:
    """Return an error as it is without a server: about the one record, if there is one, and with the field where it was in what
    the user gave: ``writes/2/data/age`` is ``data/2/age``."""
    if is_one:
        error.args = (str(error).removeprefix("0: "),)
    parts = error.field.split("/") if isinstance(error, ValidationError) else []
    if isinstance(error, ValidationError) and len(parts) >= 3 and parts[0] == "writes":
        error.field = "/".join([parts[2], *([] if is_one else [parts[1]]), *parts[3:]])
    return error
