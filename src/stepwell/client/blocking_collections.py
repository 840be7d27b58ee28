"""Collections for code that is not async. No logic of its own."""

from collections.abc import Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from stepwell.client.collections import AsyncCollection, AsyncCollections, Subscription
from stepwell.model import CollectionSettings, RecordChange, RecordPage

T = TypeVar("T")


class Run(Protocol):
    """Does async work on the client's loop."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class Collection:
    """The records of one collection; see ``AsyncCollection`` for what each call does."""

    def __init__(self, run: Run, collection: AsyncCollection) -> None:
        self._run = run
        self._collection = collection
        self.name = collection.name
        self.filter = collection.filter

    def get_one(self, id: str, *, fields: str | None = None) -> dict[str, Any]:
        """See ``AsyncCollection.get_one``."""
        return self._run(self._collection.get_one(id, fields=fields))

    def get_list(
        self, page: int = 1, per_page: int = 30, *, filter: str | None = None, sort: str | None = None, fields: str | None = None,
        skip_total: bool = False,
    ) -> RecordPage:  # fmt: skip
        """See ``AsyncCollection.get_list``."""
        listed = self._collection.get_list(page, per_page, filter=filter, sort=sort, fields=fields, skip_total=skip_total)
        return self._run(listed)

    def iter_list(
        self, *, filter: str | None = None, sort: str | None = None, fields: str | None = None, batch: int = 500
    ) -> Iterator[dict[str, Any]]:
        """See ``AsyncCollection.iter_list``."""
        records = self._collection.iter_list(filter=filter, sort=sort, fields=fields, batch=batch)
        while (record := self._run(_next(records))) is not None:
            yield record

    def get_full_list(
        self, *, filter: str | None = None, sort: str | None = None, fields: str | None = None, batch: int = 500
    ) -> list[dict[str, Any]]:
        """See ``AsyncCollection.get_full_list``."""
        return self._run(self._collection.get_full_list(filter=filter, sort=sort, fields=fields, batch=batch))

    def get_first(
        self, filter: str | None = None, *, sort: str | None = None, fields: str | None = None
    ) -> dict[str, Any]:  # fmt: skip
        """See ``AsyncCollection.get_first``."""
        return self._run(self._collection.get_first(filter, sort=sort, fields=fields))

    def count(self, filter: str | None = None) -> int:
        """See ``AsyncCollection.count``."""
        return self._run(self._collection.count(filter))

    def create(self, data: Any) -> dict[str, Any]:
        """See ``AsyncCollection.create``."""
        return self._run(self._collection.create(data))

    def update(self, id: str, data: Any, *, if_match: Any = None) -> dict[str, Any]:
        """See ``AsyncCollection.update``."""
        return self._run(self._collection.update(id, data, if_match=if_match))

    def upsert(self, data: Any, *, if_match: Any = None) -> dict[str, Any]:
        """See ``AsyncCollection.upsert``."""
        return self._run(self._collection.upsert(data, if_match=if_match))

    def delete(self, id: str, *, if_match: Any = None) -> None:
        """See ``AsyncCollection.delete``."""
        self._run(self._collection.delete(id, if_match=if_match))

    def create_many(self, records: Sequence[Any]) -> list[dict[str, Any]]:
        """See ``AsyncCollection.create_many``."""
        return self._run(self._collection.create_many(records))

    def update_many(self, records: Sequence[Any]) -> list[dict[str, Any]]:
        """See ``AsyncCollection.update_many``."""
        return self._run(self._collection.update_many(records))

    def upsert_many(self, records: Sequence[Any]) -> list[dict[str, Any]]:
        """See ``AsyncCollection.upsert_many``."""
        return self._run(self._collection.upsert_many(records))

    def delete_many(self, ids: Sequence[str]) -> None:
        """See ``AsyncCollection.delete_many``."""
        self._run(self._collection.delete_many(ids))

    def subscribe(
        self, filter: str | None = None, *, fields: str | None = None, after: int | None = None
    ) -> "BlockingSubscription":
        """See ``AsyncCollection.subscribe``."""
        return BlockingSubscription(self._run, self._collection.subscribe(filter, fields=fields, after=after))


class BlockingSubscription:
    """The changes of a collection's records: an iterator, and a context."""

    def __init__(self, run: Run, subscription: Subscription) -> None:
        self._run = run
        self._subscription = subscription

    def __enter__(self) -> Self:
        self._run(self._subscription.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /) -> None:
        self._run(self._subscription.aclose())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> RecordChange:
        return self._run(self._subscription.__anext__())


class Collections:
    """What is settled for collections; see ``AsyncCollections`` for what each call does."""

    def __init__(self, run: Run, collections: AsyncCollections) -> None:
        self._run = run
        self._collections = collections

    def update(self, name: str, *, indexes: Any = None, schema: Any = None) -> CollectionSettings:
        """See ``AsyncCollections.update``."""
        return self._run(self._collections.update(name, indexes=indexes, schema=schema))

    def get(self, name: str) -> CollectionSettings:
        """See ``AsyncCollections.get``."""
        return self._run(self._collections.get(name))

    def list(self) -> list[CollectionSettings]:
        """See ``AsyncCollections.list``."""
        return self._run(self._collections.list())


async def _next(items: Any) -> Any:
    return await anext(items, None)
