"""Collections of records, as users hold them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal, Self, cast

from stepwell import codec
from stepwell.checks import check_int
from stepwell.client.recorded import EngineHolder, Recorded
from stepwell.client.requests import new_id
from stepwell.engine.record_calls import Records, RecordsAsked
from stepwell.errors import NotFoundError, PayloadTooLargeError, StepwellError, ValidationError
from stepwell.execution.here import branch_here
from stepwell.execution.writes import write_records
from stepwell.model import CollectionSettings, RecordChange, RecordPage
from stepwell.progress import RecordWrite, WriteRecords
from stepwell.records.building import build
from stepwell.records.contents import check_collection, check_id, check_match, write_of

PER_PAGE_MAX: Final = 1_000
ROWS_DEEP_MAX: Final = 10_000
"""How far pages reach. Who wants more walks."""

WRITES_MAX: Final = 1_000

_Action = Literal["create", "update", "upsert"]


class AsyncCollection(Recorded):
    """The records of one collection; it comes into being with its first record.

    A record is a dict with ``id``, ``created`` and ``updated`` beside the fields that users give it. In the body of a workflow
    every call is recorded, and what it writes is committed along with that record: exactly once.
    """

    def __init__(self, client: EngineHolder, name: str) -> None:
        super().__init__(client, kind="collection")
        self.name = check_collection(name)

    # -- reading

    async def get_one(self, id: str, *, fields: str | None = None) -> dict[str, Any]:
        """Return a record.

        Raises:
            NotFoundError: There is none with this id.
        """
        return await self._recorded("get_one", self._get_one, self.name, check_id(id), fields)

    async def _get_one(self, name: str, id: str, fields: str | None) -> dict[str, Any]:
        return await (await self._client.engine()).records.get(name, id, fields)

    async def get_list(
        self, page: int = 1, per_page: int = 30, *, filter: str | None = None, sort: str | None = None, fields: str | None = None,
        skip_total: bool = False,
    ) -> RecordPage:  # fmt: skip
        """Return a page of records, in the order of their ids unless ``sort`` says otherwise.

        Args:
            page: From 1. Pages reach 10,000 records deep; ``iter_list`` walks them all.
            per_page: 1 to 1,000.
            filter: ``status = 'pending' && (total >= 10 || tags ?= 'new')``; see docs/collections.md.
            sort: ``-created,name``: newest first, those of one time by name.
            fields: ``id,name,address.city``: only these.
            skip_total: Do not count; the totals are None then.

        Raises:
            ValidationError: One of these is none; ``field`` says which. Or looking took too long, and an index would help.
        """
        check_page(page, per_page)
        asked = self._asked(filter, sort, fields)
        return await self._recorded("get_list", self._get_list, asked, page, per_page, skip_total)

    async def _get_list(self, asked: RecordsAsked, page: int, per_page: int, skip_total: bool) -> RecordPage:
        return await (await self._client.engine()).records.page(asked, page, per_page, skip_total=skip_total)

    async def iter_list(
        self, *, filter: str | None = None, sort: str | None = None, fields: str | None = None, batch: int = 500
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield all records that fit, ``batch`` of them read at once. A record that is written meanwhile may be seen or not."""
        check_int(batch, "batch", 1, PER_PAGE_MAX)
        asked, cursor = self._asked(filter, sort, fields), None
        while True:
            page = await self._recorded("iter_list", self._walk, asked, batch, cursor)
            for record in page.items:
                yield record
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _walk(self, asked: RecordsAsked, batch: int, cursor: str | None) -> Any:
        return await (await self._client.engine()).records.walk(asked, batch, cursor)

    async def get_full_list(
        self, *, filter: str | None = None, sort: str | None = None, fields: str | None = None, batch: int = 500
    ) -> list[dict[str, Any]]:
        """Return all records that fit, however many."""
        return [record async for record in self.iter_list(filter=filter, sort=sort, fields=fields, batch=batch)]

    async def get_first(
        self, filter: str | None = None, *, sort: str | None = None, fields: str | None = None
    ) -> dict[str, Any]:  # fmt: skip
        """Return the first record that fits.

        Raises:
            NotFoundError: None does.
        """
        return await self._recorded("get_first", self._get_first, self._asked(filter, sort, fields))

    async def _get_first(self, asked: RecordsAsked) -> dict[str, Any]:
        page = await (await self._client.engine()).records.page(asked, 1, 1, skip_total=True)
        if not page.items:
            raise NotFoundError(f"no record of collection {asked.collection!r} fits {asked.filter!r:.200}")
        return page.items[0]

    async def count(self, filter: str | None = None) -> int:
        """Return how many records fit."""
        return await self._recorded("count", self._count, self._asked(filter, None, None))

    async def _count(self, asked: RecordsAsked) -> int:
        return await (await self._client.engine()).records.count(asked)

    def _asked(self, filter: str | None, sort: str | None, fields: str | None) -> RecordsAsked:
        for field, value in (("filter", filter), ("sort", sort), ("fields", fields)):
            if value is not None and not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ValidationError(f"{field} must be a text, not {type(value).__name__}", field=field)
        return RecordsAsked(collection=self.name, filter=filter, sort=sort, fields=fields)

    @staticmethod
    def filter(template: str, /, **values: object) -> str:
        """Return a filter with values put in safely: ``filter("status = {:s}", s=status)``.

        Raises:
            ValidationError: A place has no value, or a value no place, or it is nothing that a field is compared with.
        """
        return build(template, values)

    # -- writing

    async def create(self, data: Any) -> dict[str, Any]:
        """Create a record. Its id is ``data["id"]``, or drawn.

        Raises:
            ConflictError: There is one with this id, or with a value that must be unique.
            ValidationError: ``data`` is no object, or does not fit the collection's schema; ``field`` says what is wrong.
            NotSerializableError, PayloadTooLargeError: It cannot be stored.

        Durability: stored on return. Calling twice without an id creates two.
        """
        return await self._write_one("create", data, None)

    async def update(self, id: str, data: Any, *, if_match: Any = None) -> dict[str, Any]:
        """Replace fields of a record; those that ``data`` does not name stay.

        Args:
            id: Of the record.
            data: The fields, each with its new value.
            if_match: A record, or the ``updated`` of one: only if it is still as it was then.

        Raises:
            NotFoundError: There is no such record. ConflictError: it was changed since, or a value must be unique.
            ValidationError, NotSerializableError, PayloadTooLargeError: As in ``create``.

        Durability: stored on return. Calling twice gives the same record, but for ``updated``.
        """
        return await self._write_one("update", data, check_id(id), if_match)

    async def upsert(self, data: Any, *, if_match: Any = None) -> dict[str, Any]:
        """Update the record with the id ``data["id"]``, or create it. Without an id it is created.

        Raises:
            As in ``create`` and ``update``.

        Durability: stored on return. Calling twice with an id gives the same record, but for ``updated``.
        """
        return await self._write_one("upsert", data, None, if_match)

    async def delete(self, id: str, *, if_match: Any = None) -> None:
        """Delete a record.

        Raises:
            NotFoundError: There is none. ConflictError: it was changed since ``if_match``.

        Durability: gone on return. A second time it is not found.
        """
        write = RecordWrite(action="delete", id=check_id(id), if_match=check_match(if_match))
        await self._write("delete", [write], (self.name, id, write.if_match), is_one=True)

    async def create_many(self, records: Sequence[Any]) -> list[dict[str, Any]]:
        """Create up to 1,000 records in one commit: all of them, or none. See ``create``."""
        return await self._write_many("create", "create_many", records)

    async def update_many(self, records: Sequence[Any]) -> list[dict[str, Any]]:
        """Update up to 1,000 records, each named by its ``id``, in one commit: all of them, or none. See ``update``."""
        return await self._write_many("update", "update_many", records)

    async def upsert_many(self, records: Sequence[Any]) -> list[dict[str, Any]]:
        """Update or create up to 1,000 records in one commit: all of them, or none. See ``upsert``."""
        return await self._write_many("upsert", "upsert_many", records)

    async def delete_many(self, ids: Sequence[str]) -> None:
        """Delete up to 1,000 records in one commit: all of them, or none. See ``delete``."""
        _check_many(ids, "ids")
        writes = [RecordWrite(action="delete", id=check_id(each, f"ids/{place}")) for place, each in enumerate(ids)]
        await self._write("delete_many", writes, (self.name, list(ids)))

    async def _write_one(self, action: _Action, data: Any, id: str | None, if_match: Any = None) -> dict[str, Any]:
        settings = (await self._client.engine()).settings
        write = write_of(
            action, data, id=id, if_match=if_match, limit_bytes=settings.payload_bytes_max, depth_max=settings.depth_max
        )
        args = (self.name, write.id, codec.decode(write.data), write.if_match)
        (record,) = await self._write(action, [_with_id(write)], args, is_one=True)
        return dict(record)

    async def _write_many(self, action: _Action, name: str, records: Sequence[Any]) -> list[dict[str, Any]]:
        _check_many(records, "data")
        settings = (await self._client.engine()).settings
        writes: list[RecordWrite] = []
        for place, data in enumerate(records):
            field = f"data/{place}"
            write = write_of(
                action, data, id=None, field=field, limit_bytes=settings.payload_bytes_max, depth_max=settings.depth_max
            )  # fmt: skip
            if action == "update" and not write.id:
                raise ValidationError(f"{field} must have the id of the record", field=f"{field}/id")
            writes.append(write)
        args = (self.name, [(write.id, codec.decode(write.data)) for write in writes])
        return await self._write(name, [_with_id(write) for write in writes], args)

    async def _write(self, name: str, writes: list[RecordWrite], args: tuple[Any, ...], *, is_one: bool = False) -> list[Any]:
        if not writes:
            return []
        engine = await self._client.engine()
        request = WriteRecords(collection=self.name, writes=writes, write_id=new_id(), is_one=is_one)
        here = branch_here()
        if here is None:
            return await engine.records.write(request)
        host = here.execution.host
        if not host.writings_max or host.flows is not self._client.workflow:
            # Another client than the one that the worker was given may lead to another store: no commit does both.

            async def elsewhere(*_: Any) -> list[Any]:
                return list(await engine.records.write(request))

            return await self._recorded(name, elsewhere, *args)
        most = engine.settings.payload_bytes_max
        request = WriteRecords(collection=self.name, writes=writes, write_id="", is_one=is_one, result_bytes_max=most)
        if request.size > most:
            raise PayloadTooLargeError(
                f"all records together have {request.size:,} bytes of JSON, and a workflow records at most {most:,}",
                size_bytes=request.size, limit_bytes=most,
            )  # fmt: skip
        done = await write_records(here, f"collection.{name}", args, request)
        return [done] if is_one else done or []

    # -- changes

    def subscribe(self, filter: str | None = None, *, fields: str | None = None, after: int | None = None) -> "Subscription":
        """Follow what becomes of records from now on: ``async for change in collection.subscribe("status = 'paid'")``.

        A record is told of when it fits after it was written, and a deleted one if it did before. Several changes of a record
        in a short time may be told of as one. With ``async with`` nothing is missed from its beginning on.

        Args:
            filter: Which records. None: all.
            fields: Which of their fields.
            after: The ``seq`` of a change: begin behind that.
        """
        if branch_here() is not None:
            raise StepwellError("subscribe cannot be replayed: use it outside of workflows, or wait for signals")
        return Subscription(self._client, self._asked(filter, None, fields), after)


class Subscription:
    """The changes of a collection's records: an async iterator, and a context."""

    def __init__(self, client: EngineHolder, asked: RecordsAsked, after: int | None) -> None:
        self._client = client
        self._asked = asked
        self._after = after
        self._changes: AsyncIterator[RecordChange] | None = None

    async def __aenter__(self) -> Self:
        if self._after is None:
            self._after = await (await self._client.engine()).records.place(self._asked.collection)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordChange:
        if self._changes is None:
            self._changes = (await self._client.engine()).records.changes(self._asked, self._after)
        return await anext(self._changes)

    async def aclose(self) -> None:
        """End it."""
        changes: Any = self._changes
        if changes is not None:
            await changes.aclose()


class AsyncCollections:
    """What is settled for collections: their indexes and schemas. Not for workflows."""

    def __init__(self, client: EngineHolder) -> None:
        self._client = client

    async def update(self, name: str, *, indexes: Any = None, schema: Any = None) -> CollectionSettings:
        """Settle what is given; the rest stays. Returns when the indexes are ready to be used.

        Args:
            name: The collection; it is made if there is none.
            indexes: All that there are to be: ``"status"``, ``"customer.id,created"`` over several fields, or
                ``{"fields": ["email"], "unique": True}``. Those that are not named are dropped.
            schema: A JSON Schema that records must fit from now on; ``{}`` takes it away.

        Raises:
            ValidationError: One of these is none. ConflictError: records have the same value where it must be unique.
        """
        return await (await self._records()).configure(check_collection(name), indexes, schema)

    async def get(self, name: str) -> CollectionSettings:
        """Return what is settled for a collection.

        Raises:
            NotFoundError: There is none.
        """
        return await (await self._records()).settings_of(check_collection(name))

    async def list(self) -> list[CollectionSettings]:
        """Return all collections, by name."""
        return await (await self._records()).collections()

    async def _records(self) -> Records:
        if branch_here() is not None:
            raise StepwellError("what is settled for collections is not for workflows: call this in a step, or outside of them")
        return (await self._client.engine()).records


def check_page(page: int, per_page: int) -> None:
    """Make sure that a page lies where pages reach.

    Raises:
        ValidationError: It does not.
    """
    check_int(page, "page", 1, 10**9)
    check_int(per_page, "per_page", 1, PER_PAGE_MAX)
    if (page - 1) * per_page >= ROWS_DEEP_MAX:
        raise ValidationError(f"page: pages reach {ROWS_DEEP_MAX:,} records deep; walk with iter_list instead", field="page")


def _check_many(items: object, field: str) -> None:
    if not isinstance(items, list | tuple):
        raise ValidationError(f"{field} must be a list, not {type(items).__name__}", field=field)
    count = len(cast("Sequence[object]", items))
    if count > WRITES_MAX:
        raise ValidationError(f"{field} has {count:,} entries; at once may be written {WRITES_MAX:,}", field=field)


def _with_id(write: RecordWrite) -> RecordWrite:
    if write.id:
        return write
    return RecordWrite(action=write.action, id=new_id(), data=write.data, if_match=write.if_match)
