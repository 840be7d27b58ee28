"""What writes do to records: the rules, without a database.

A collection's row is locked before its records are read, so that what is read stays true until the commit, and nobody can take a
value that must be unique at the same time. The keys of indexes are written along with the records.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stepwell.errors import ConflictError, NotFoundError, PayloadTooLargeError, StepwellError, ValidationError
from stepwell.progress import RecordWrite, WriteRecords
from stepwell.records import contents
from stepwell.records.collections import Settled, read_settled, settled_text
from stepwell.records.indexing import Index, is_held_unique, key_of
from stepwell.records.moments import later, timestamp
from stepwell.records.schemas import check_record
from stepwell.store.plans import Change, Plan, Request, Row, Table, Write, ask, change, to_json
from stepwell.store.records import BuildIndex, Built, CollectionRow, Configure, Configured, DropKeys, Written

_ENTER: Final = Table("enter_collections", CollectionRow._fields)
_COLLECTIONS: Final = Table("write_collections", CollectionRow._fields)
_RECORDS: Final = Table("write_records", ("collection", "id", "data"))
_KEYS: Final = Table("insert_record_keys", ("collection", "number", "key", "id"))
_CHANGES: Final = Table("insert_record_changes", ("collection", "seq", "write_id", "changes"))

CHANGES_KEPT: Final = 10_000
"""Writes to a collection that are remembered."""

_PRUNED_EACH: Final = 100

_Key = tuple[str, int, str]
"""Collection, number of the index, key."""


class _Collection:
    """A collection that this batch writes to."""

    def __init__(self, row: CollectionRow) -> None:
        self.name = row.name
        self.created_at = row.created_at
        self.seq = row.seq
        self.is_changed = False
        self.settle(read_settled(row.settled))

    def settle(self, settled: Settled) -> None:
        self.settled = settled
        self.schema = None if settled.schema is None else to_json(settled.schema)

    def row(self, now_ms: int) -> CollectionRow:
        return CollectionRow(self.name, settled_text(self.settled), self.seq, self.created_at, now_ms)


class _Staged:
    """What the writes of one request do, until it is known that all of them can be done."""

    def __init__(self) -> None:
        self.records: dict[str, str | None] = {}
        self.holders: dict[_Key, str | None] = {}
        self.keys: list[tuple[_Key, str, bool]] = []
        """Key, id, and whether it is entered or taken out."""
        self.changes: list[tuple[str, str, msgspec.Raw | None]] = []


class Recording:
    """The records that a batch reads and writes."""

    def __init__(self, *, now_ms: int, bytes_max: int) -> None:
        self._now_ms = now_ms
        self._bytes_max = bytes_max
        self._collections: dict[str, _Collection] = {}
        self._records: dict[tuple[str, str], str | None] = {}
        self._holders: dict[_Key, str | None] = {}
        self._changed: dict[tuple[str, str], str | None] = {}
        self._keys: dict[tuple[str, int, str, str], bool] = {}
        self._changes: list[Row] = []

    @property
    def changed(self) -> list[str]:
        """Collections that were written to."""
        return [name for name, collection in self._collections.items() if collection.is_changed]

    def read_ahead(self, requests: Sequence[WriteRecords]) -> Plan[None]:
        """Lock the collections that are written to, and read the records."""
        making = [each.collection for each in requests if any(write.action in ("create", "upsert") for write in each.writes)]
        yield from self._lock([each.collection for each in requests], making)
        places = {(each.collection, write.id): None for each in requests for write in each.writes}
        if places:
            found = yield from ask("find_records", list[tuple[str, str, str]], to_json(list(places)))
            self._records = {**places, **{(name, record_id): data for name, record_id, data in found}}

    def _lock(self, names: Sequence[str], making: Sequence[str]) -> Plan[None]:
        """Lock collections, in the order of their names; those of ``making`` come into being."""
        asked = to_json(sorted(set(names)))
        found = yield from ask("find_collections", list[CollectionRow], asked)
        missing = set(making) - {row.name for row in found}
        if missing:
            yield [Write(_ENTER, [(name, "{}", 0, self._now_ms, self._now_ms) for name in sorted(missing)])]
            found = yield from ask("find_collections", list[CollectionRow], asked)
        self._collections = {row.name: _Collection(row) for row in found}

    def write(self, request: WriteRecords) -> Plan[Written]:
        """Do all of the writes, or none."""
        collection = self._collections.get(request.collection)
        staged = _Staged()
        try:
            if collection is None:
                raise _missing(request.collection, request.writes[0].id)
            yield from self._ask_holders(collection, request.writes)
            for place, write in enumerate(request.writes):
                try:
                    yield from self._write(collection, staged, write)
                except StepwellError as error:
                    raise error if request.is_one else _at(place, error) from None
        except StepwellError as error:
            if collection is not None and (yield from self._is_done(request)):
                return Written([self._records[request.collection, write.id] for write in request.writes])
            return Written([], error)
        records = [staged.records[write.id] for write in request.writes]
        size = sum(len(text) for text in records if text is not None)
        if request.result_bytes_max is not None and size > request.result_bytes_max:
            text = f"what was written has {size:,} bytes of JSON, and a workflow records at most {request.result_bytes_max:,}"
            return Written([], PayloadTooLargeError(text, size_bytes=size, limit_bytes=request.result_bytes_max))
        self._take(collection, staged, request.write_id)
        return Written(records)

    def _is_done(self, request: WriteRecords) -> Plan[bool]:
        """Tell whether this very request was done before, and only its answer was lost."""
        if not request.write_id:
            return False
        return bool((yield from ask("find_record_change", list[int], request.collection, request.write_id)))

    def _write(self, collection: _Collection, staged: _Staged, write: RecordWrite) -> Plan[None]:
        before = self._find(collection, staged, write.id)
        _check(collection.name, write, before)
        after = self._after(collection, write, before)
        if after is not None and collection.schema is not None:
            check_record(collection.schema, to_json(contents.given(contents.members_of(after))))
        if collection.settled.indexes:
            yield from self._move_keys(collection, staged, write.id, before, after)
        staged.records[write.id] = after
        action = "delete" if after is None else "create" if before is None else "update"
        staged.changes.append((action, write.id, msgspec.Raw((before or "").encode()) if after is None else None))

    def _find(self, collection: _Collection, staged: _Staged, id: str) -> str | None:
        return staged.records[id] if id in staged.records else self._records[collection.name, id]

    def _after(self, collection: _Collection, write: RecordWrite, before: str | None) -> str | None:
        """Return the record as it will be."""
        if write.action == "delete":
            return None
        data = contents.members_of(write.data)
        if before is None:
            created = updated = timestamp(self._now_ms)
        else:
            old = contents.members_of(before)
            created, updated = contents.time_of(old, "created"), later(contents.time_of(old, "updated"), self._now_ms)
            data = contents.given(old) | data
        if len(data) > contents.FIELDS_MAX:
            raise ValidationError(f"data: the record would have more than {contents.FIELDS_MAX:,} fields", field="data")
        text = contents.compose(write.id, data, created, updated)
        size = len(text.encode())
        if size > self._bytes_max:
            raise PayloadTooLargeError(
                f"data: the record would have {size:,} bytes of JSON; the limit is {self._bytes_max:,}", size_bytes=size,
                limit_bytes=self._bytes_max,
            )  # fmt: skip
        return text

    # -- indexes

    def _ask_holders(self, collection: _Collection, writes: Sequence[RecordWrite]) -> Plan[None]:
        """Ask at once who has the values that must be unique, as far as can be told before anything is done."""
        unique = [index for index in collection.settled.indexes if index.unique]
        if not unique:
            return
        asked: dict[_Key, None] = {}
        for write in writes:
            try:
                after = self._after(collection, write, self._records[collection.name, write.id])
                record = None if after is None else msgspec.json.decode(after)
                asked |= {(collection.name, index.number, key_of(index, record)): None for index in unique if record is not None}
            except StepwellError:
                continue  # it is told when its turn comes
        yield from self._ask_keys([key for key in asked if key not in self._holders])

    def _ask_keys(self, keys: Sequence[_Key]) -> Plan[None]:
        if keys:
            found = yield from ask("find_key_holders", list[tuple[str, int, str, str]], to_json(keys))
            self._holders |= {**dict.fromkeys(keys), **{(name, number, key): holder for name, number, key, holder in found}}

    def _move_keys(
        self, collection: _Collection, staged: _Staged, id: str, before: str | None, after: str | None
    ) -> Plan[None]:  # fmt: skip
        old = None if before is None else msgspec.json.decode(before)
        new = None if after is None else msgspec.json.decode(after)
        for index in collection.settled.indexes:
            old_key = None if old is None else (collection.name, index.number, key_of(index, old))
            new_key = None if new is None else (collection.name, index.number, key_of(index, new))
            if old_key == new_key:
                continue
            if new_key is not None and index.unique and is_held_unique(index, new):
                if new_key not in staged.holders:
                    if new_key not in self._holders:
                        yield from self._ask_keys([new_key])
                    staged.holders[new_key] = self._holders[new_key]
                holder = staged.holders[new_key]
                if holder is not None and holder != id:
                    raise _taken(collection.name, index, holder)
                staged.holders[new_key] = id
            if old_key is not None:
                if index.unique:
                    staged.holders[old_key] = None
                staged.keys.append((old_key, id, False))
            if new_key is not None:
                staged.keys.append((new_key, id, True))

    def _take(self, collection: _Collection, staged: _Staged, write_id: str) -> None:
        """All of a request can be done: so it is."""
        collection.seq += 1
        collection.is_changed = True
        for record_id, text in staged.records.items():
            self._records[collection.name, record_id] = self._changed[collection.name, record_id] = text
        self._holders |= staged.holders
        for (name, number, key), record_id, is_entered in staged.keys:
            self._move((name, number, key, record_id), is_entered=is_entered)
        self._changes.append((collection.name, collection.seq, write_id, to_json(staged.changes)))

    def _move(self, row: tuple[str, int, str, str], *, is_entered: bool) -> None:
        if self._keys.get(row, is_entered) is not is_entered:
            del self._keys[row]  # as it was before this batch
        else:
            self._keys[row] = is_entered

    # -- settings

    def configure(self, request: Configure) -> Plan[Configured]:
        """See ``Configure``."""
        yield from self._lock([request.name], [request.name])
        collection = self._collections[request.name]
        settled, making, dropped = collection.settled, list[int](), list[int]()
        if request.schema is not None:
            schema: dict[str, Any] | None = msgspec.json.decode(request.schema)
            settled = msgspec.structs.replace(settled, schema=schema)
        if request.indexes is not None:
            known = {(index.fields, index.unique): index for index in settled.indexes}
            indexes: list[Index] = []
            numbers = settled.numbers
            for fields, unique in request.indexes:
                index = known.pop((fields, unique), None)
                if index is None:
                    numbers += 1
                    index = Index(fields, numbers, unique)
                if not index.is_ready:
                    making.append(index.number)
                indexes.append(index)
            dropped = [index.number for index in known.values()]
            settled = msgspec.structs.replace(settled, indexes=tuple(indexes), numbers=numbers)
        collection.settle(settled)
        row = collection.row(self._now_ms)
        yield [Write(_COLLECTIONS, [row])]
        return Configured(row, making, dropped)

    def build(self, request: BuildIndex) -> Plan[Built]:
        """See ``BuildIndex``."""
        yield from self._lock([request.collection], [])
        collection = self._collections.get(request.collection)
        index = _index(collection, request.number)
        if collection is None or index is None or index.is_ready:
            return Built(None)
        found = yield from ask("records_after", list[tuple[str, str]], request.collection, request.after, request.limit)
        try:
            yield from self._enter(collection, index, found)
        except StepwellError as error:
            return Built(None, error)
        if len(found) == request.limit:
            return Built(found[-1][0])
        ready = msgspec.structs.replace(index, is_ready=True)
        indexes = tuple(ready if each is index else each for each in collection.settled.indexes)
        collection.settle(msgspec.structs.replace(collection.settled, indexes=indexes))
        yield [Write(_COLLECTIONS, [collection.row(self._now_ms)])]
        return Built(None)

    def _enter(self, collection: _Collection, index: Index, found: Sequence[tuple[str, str]]) -> Plan[None]:
        rows: list[tuple[str, int, str, str]] = []
        held: dict[_Key, str] = {}
        for record_id, text in found:
            record = msgspec.json.decode(text)
            row = (collection.name, index.number, key_of(index, record), record_id)
            rows.append(row)
            if index.unique and is_held_unique(index, record):
                if row[:3] in held:
                    raise _taken(collection.name, index, f"{held[row[:3]]!r} and {record_id!r}", plural=True)
                held[row[:3]] = record_id
        if held:
            yield from self._ask_keys(list(held))
            for key, record_id in held.items():
                holder = self._holders[key]
                if holder is not None and holder != record_id:
                    raise _taken(collection.name, index, f"{holder!r} and {record_id!r}", plural=True)
        if rows:
            yield [Write(_KEYS, sorted(rows))]

    def drop(self, request: DropKeys) -> Plan[int]:
        """See ``DropKeys``."""
        return (yield from change("drop_record_keys", request.collection, request.number, request.limit))

    # -- at the end

    def writes(self) -> list[Request]:
        """Return what is to be written."""
        if not self._changes:
            return []
        records = sorted((*place, text) for place, text in self._changed.items() if text is not None)
        deleted = [place for place, text in self._changed.items() if text is None]
        entered = sorted(row for row, is_entered in self._keys.items() if is_entered)
        taken_out = [row for row, is_entered in self._keys.items() if not is_entered]
        requests: list[Request] = [
            Write(_COLLECTIONS, [each.row(self._now_ms) for each in self._collections.values() if each.is_changed])
        ]
        if taken_out:
            requests.append(Change("delete_record_keys", (to_json(taken_out),)))
        if deleted:
            requests.append(Change("delete_records", (to_json(deleted),)))
        requests += [
            Change("prune_record_changes", (each.name, each.seq - CHANGES_KEPT))
            for each in self._collections.values()
            if each.is_changed and each.seq % _PRUNED_EACH == 0
        ]
        added = ((_RECORDS, records), (_KEYS, entered), (_CHANGES, self._changes))
        requests += [Write(table, rows) for table, rows in added if rows]
        self._changed, self._keys, self._changes = {}, {}, []
        return requests


def _check(name: str, write: RecordWrite, before: str | None) -> None:
    if write.action == "create" and before is not None:
        raise ConflictError(f"collection {name!r} has a record {write.id!r} already")
    if before is None and (write.action in ("update", "delete") or write.if_match is not None):
        raise _missing(name, write.id)
    if write.if_match is not None:
        updated = contents.time_of(contents.members_of(before or "{}"), "updated")
        if updated != write.if_match:
            raise ConflictError(
                f"record {write.id!r} of collection {name!r} was updated at {updated}, and if_match says {write.if_match}"
            )


def _missing(name: str, id: str) -> NotFoundError:
    return NotFoundError(f"there is no record {id!r} in collection {name!r}")


def _taken(name: str, index: Index, holder: str, *, plural: bool = False) -> ConflictError:
    who = f"records {holder} of {name!r} have the same" if plural else f"record {holder!r} of {name!r} has this"
    return ConflictError(f"{index.name} must be unique, and {who} value")


def _index(collection: _Collection | None, number: int) -> Index | None:
    indexes = () if collection is None else collection.settled.indexes
    return next((index for index in indexes if index.number == number), None)


def _at(place: int, error: StepwellError) -> StepwellError:
    """Return an error that says which of several writes it is about."""
    text = f"{place}: {error}"
    if isinstance(error, ValidationError):
        top, slash, rest = error.field.partition("/")
        return ValidationError(text, field=f"{top}/{place}{slash}{rest}")
    if isinstance(error, PayloadTooLargeError):
        return PayloadTooLargeError(text, size_bytes=error.size_bytes, limit_bytes=error.limit_bytes)
    return type(error)(text)
