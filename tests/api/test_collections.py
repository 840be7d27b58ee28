"""Collections as users see them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    ConflictError,
    NotFoundError,
    PayloadTooLargeError,
    RecordPage,
    Settings,
    ValidationError,
)
from stepwell.client.collections import AsyncCollection
from tests.api.tools import cases


@pytest.fixture
def notes(client: AsyncClient) -> AsyncCollection:
    return client.collection("notes")


async def test_a_record_is_what_was_given_and_id_created_and_updated(notes: AsyncCollection):
    made = await notes.create({"text": "hello", "deep": {"n": [1, None, {"x": 10**30}]}})
    assert list(made) == ["id", "text", "deep", "created", "updated"]
    assert made["created"] == made["updated"]
    assert await notes.get_one(made["id"]) == made
    assert await notes.get_one(made["id"], fields="text,deep.n") == {"text": "hello", "deep": {"n": [1, None, {"x": 10**30}]}}


async def test_names_may_begin_with_an_underscore_and_ids_may_be_given(client: AsyncClient):
    users = client.collection("_users")
    assert (await users.create({"id": "user-123", "name": "Ada"}))["id"] == "user-123"
    assert (await users.get_one("user-123"))["name"] == "Ada"
    with pytest.raises(ConflictError, match="has a record 'user-123' already"):
        await users.create({"id": "user-123"})


async def test_an_update_replaces_the_fields_that_it_names_and_no_other(notes: AsyncCollection):
    made = await notes.create({"a": {"x": 1}, "b": 2})
    changed = await notes.update(made["id"], {"a": {"y": 2}, "c": 3})
    assert changed == {**made, "a": {"y": 2}, "c": 3, "updated": changed["updated"]}
    assert changed["updated"] > made["updated"]
    assert changed["created"] == made["created"]
    with pytest.raises(NotFoundError, match="there is no record 'nobody' in collection 'notes'"):
        await notes.update("nobody", {})


async def test_a_record_that_was_read_may_be_given_back_as_a_whole(notes: AsyncCollection):
    made = await notes.create({"n": 1})
    assert (await notes.update(made["id"], made | {"n": 2}))["n"] == 2
    assert (await notes.upsert(made | {"n": 3}))["n"] == 3
    assert await notes.count() == 1


async def test_an_upsert_makes_or_changes(notes: AsyncCollection):
    first = await notes.upsert({"id": "a", "n": 1, "m": 1})
    second = await notes.upsert({"id": "a", "n": 2})
    assert second == {**first, "n": 2, "updated": second["updated"]}
    assert (await notes.upsert({"n": 3}))["id"] != "a"


async def test_what_is_deleted_is_gone(notes: AsyncCollection):
    made = await notes.create({})
    await notes.delete(made["id"])
    for gone in (notes.get_one, notes.delete):
        with pytest.raises(NotFoundError):
            await gone(made["id"])


async def test_if_match_takes_only_the_state_that_the_caller_knows(notes: AsyncCollection):
    first = await notes.create({"n": 1})
    second = await notes.update(first["id"], {"n": 2}, if_match=first)
    with pytest.raises(ConflictError, match=f"was updated at {second['updated']}"):
        await notes.update(first["id"], {"n": 3}, if_match=first)
    with pytest.raises(ConflictError):
        await notes.delete(first["id"], if_match=first["updated"])
    with pytest.raises(ValidationError) as raised:
        await notes.delete(first["id"], if_match="yesterday")
    assert raised.value.field == "if_match"
    await notes.delete(first["id"], if_match=second["updated"])


@dataclass
class Note:
    id: str
    text: str


async def test_whatever_becomes_an_object_may_be_a_record(notes: AsyncCollection):
    assert (await notes.create(Note("a", "hello")))["text"] == "hello"


@cases(
    ("data", "field"),
    [
        ([1], "data"),
        ("text", "data"),
        (None, "data"),
        ({"id": "no spaces"}, "data/id"),
        ({"id": ""}, "data/id"),
        ({"id": 5}, "data/id"),
        ({"created": "today"}, "data/created"),
        ({"updated": 5}, "data/updated"),
        ({"x": float("nan")}, "data/x"),
        ({"x": "\0"}, "data/x"),
        ({"x": object()}, "data/x"),
        ({"": 1}, "data"),
        ({"a\n": 1}, "data"),
        ({f"f{n}": n for n in range(1_001)}, "data"),
    ],
)
async def test_what_is_no_record_is_refused_and_the_field_named(notes: AsyncCollection, data: Any, field: str):
    for write in (notes.create, notes.upsert, lambda given: notes.create_many([{}, given])):
        with pytest.raises(ValidationError) as raised:
            await write(data)
        assert raised.value.field.replace("data/1", "data") == field
    assert await notes.count() == 0


async def test_a_record_has_bounds(notes: AsyncCollection):
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValidationError, match="nests deeper"):
        await notes.create({"x": deep})
    with pytest.raises(PayloadTooLargeError):
        await notes.create({"x": "x" * 1024 * 1024})
    made = await notes.create({"x": "x" * 600_000})
    with pytest.raises(PayloadTooLargeError, match="the record would have"):
        await notes.update(made["id"], {"y": "y" * 600_000})
    with pytest.raises(ValidationError) as raised:
        await notes.update(made["id"], {"id": "other"})
    assert raised.value.field == "data/id"


@cases("name", ["", "x" * 201, "a\n", 5, None])
async def test_a_name_that_is_none_is_refused(client: AsyncClient, name: Any):
    with pytest.raises(ValidationError) as raised:
        client.collection(name)
    assert raised.value.field == "collection"


@cases("id", ["", "a b", "x" * 201, None, 5, "a/b"])
async def test_an_id_that_is_none_is_refused(notes: AsyncCollection, id: Any):
    for call in (notes.get_one, notes.delete, lambda given: notes.update(given, {})):
        with pytest.raises(ValidationError) as raised:
            await call(id)
        assert raised.value.field == "id"


async def _numbers(notes: AsyncCollection, count: int = 25) -> None:
    await notes.create_many([{"id": f"r{n:02}", "n": n, "even": n % 2 == 0, "tags": [n % 3, "x"]} for n in range(count)])


async def test_lists_come_in_pages_with_totals(notes: AsyncCollection):
    await _numbers(notes)
    page = await notes.get_list(2, 10)
    assert isinstance(page, RecordPage)
    assert [record["n"] for record in page] == list(range(10, 20))
    assert (page.page, page.per_page, page.total_items, page.total_pages) == (2, 10, 25, 3)
    last = await notes.get_list(3, 10, skip_total=True)
    assert (len(last), last.total_items, last.total_pages) == (5, None, None)
    assert (await notes.get_list(4, 10)).items == []
    nothing = await notes.get_list(filter="n > 100")
    assert (nothing.items, nothing.total_items, nothing.total_pages) == ([], 0, 0)


async def test_lists_are_filtered_sorted_and_cut_to_fields(notes: AsyncCollection):
    await _numbers(notes)
    page = await notes.get_list(1, 3, filter="even = true && tags ?= 1", sort="-n", fields="n")
    assert page.items == [{"n": 22}, {"n": 16}, {"n": 10}]
    assert page.total_items == 4
    assert [record["n"] for record in (await notes.get_list(sort="even,-n", per_page=3)).items] == [23, 21, 19]
    assert (await notes.get_first("n > 3", sort="-n"))["n"] == 24
    assert await notes.count("n > 3") == 21
    with pytest.raises(NotFoundError, match="no record of collection 'notes' fits"):
        await notes.get_first("n > 100")


async def test_a_walk_sees_every_record_once_in_order_however_many(notes: AsyncCollection):
    await _numbers(notes)
    assert [record["n"] async for record in notes.iter_list(batch=4)] == list(range(25))
    down = await notes.get_full_list(filter="n != 5", sort="even,-n", fields="n", batch=3)
    assert [record["n"] for record in down] == [*(n for n in range(23, -1, -2) if n != 5), *range(24, -1, -2)]


@cases(
    ("options", "field"),
    [
        ({"page": 0}, "page"),
        ({"page": 10**9}, "page"),
        ({"page": 11, "per_page": 1_000}, "page"),
        ({"per_page": 0}, "per_page"),
        ({"per_page": 1_001}, "per_page"),
        ({"per_page": 1_000_000_000}, "per_page"),
        ({"filter": "a = "}, "filter"),
        ({"filter": 5}, "filter"),
        ({"sort": "a b"}, "sort"),
        ({"sort": ["a"]}, "sort"),
        ({"fields": "a;b"}, "fields"),
    ],
)
async def test_a_list_that_cannot_be_is_refused_and_the_field_named(notes: AsyncCollection, options: Any, field: str):
    with pytest.raises(ValidationError) as raised:
        await notes.get_list(**options)
    assert raised.value.field == field


INJECTIONS = [
    "x') OR '1'='1", "a = 1; DROP TABLE records", "a = 1 -- ", "a = 1 /* */", "a') = 1 OR ('1' = '1", 'a" = 1', "a`b = 1",
    "a->b = 1", "json(a) = 1", "a = (SELECT 1)", "a = 1 UNION SELECT data FROM records", "$.a = 1", "a[0] = 1", "rowid = 1 OR 1",
    "a LIKE 'x'", "a ? 1", "a = ?1", "a = :a", "a = $1", "a.* = 1", "r.data ~ '%' OR 1", "(" * 500 + "a = 1", "a = 'x' 'y'",
    "a\0 = 1", "a = 0x10", "a = 1e", "a = .5", "a = +1", "a = 1 ||", "|| a = 1", "&& && &&", "a = 'x\\", "@now = 1", "a = @",
    "ä = 1", "a\u2028= 1",
]  # fmt: skip


@cases("text", INJECTIONS)
async def test_what_is_no_filter_is_told_so_in_words_of_filters(notes: AsyncCollection, text: str):
    await notes.upsert({"id": "it", "a": 1})
    for ask in (notes.get_list, notes.count, notes.get_full_list):
        with pytest.raises(ValidationError) as raised:
            await ask(filter=text)
        assert raised.value.field == "filter"
        assert not {"SQL", "syntax", "sqlite", "json_"} & set(str(raised.value).split())
    assert await notes.count() == 1


@pytest.mark.parametrize(
    "value", ["x') OR '1'='1", "'; DROP TABLE records; --", '"', "\\", "\\'", "%", "_", "?", "$1", ":a", "a\nb", "😀", "[]"]
)
async def test_what_is_in_a_value_is_found_as_it_is(notes: AsyncCollection, value: str):
    await notes.create_many([{"id": "it", "a": value}, {"id": "other", "a": "something else"}])
    for text in ("a = {:v}", "a ~ {:v} && a = {:v}", "a >= {:v} && a <= {:v}"):
        found = await notes.get_list(filter=notes.filter(text, v=value))
        assert [record["id"] for record in found] == ["it"]


async def test_many_are_written_all_or_none(notes: AsyncCollection):
    await notes.create_many([{"id": "a", "n": 1}, {"id": "b", "n": 1}])
    changed = await notes.update_many([{"id": "a", "n": 2}, {"id": "b", "n": 3}])
    assert [record["n"] for record in changed] == [2, 3]
    calls: list[Callable[[], Any]] = [
        lambda: notes.create_many([{"id": "c"}, {"id": "a"}]),
        lambda: notes.update_many([{"id": "a", "n": 9}, {"id": "nobody", "n": 9}]),
        lambda: notes.upsert_many([{"id": "c"}, {"id": "a", "x": "x" * 1024 * 1024}]),
        lambda: notes.delete_many(["a", "nobody"]),
        lambda: notes.update_many([{"id": "a", "n": 9}, {"n": 9}]),
        lambda: notes.create_many([{}] * 1_001),
        lambda: notes.create_many({"id": "c"}),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises((ConflictError, NotFoundError, ValidationError, PayloadTooLargeError)):
            await call()
    assert [(record["id"], record["n"]) for record in await notes.get_full_list()] == [("a", 2), ("b", 3)]
    await notes.delete_many(["a", "b"])
    assert await notes.create_many([]) == []
    assert await notes.count() == 0


async def test_what_is_wrong_with_one_record_is_told_the_same_by_way_of_a_server(notes: AsyncCollection):
    made = await notes.create({"id": "a"})
    await notes.update("a", {"n": 1})
    for call, said in (
        (notes.create({"id": "a"}), "collection 'notes' has a record 'a' already"),
        (notes.update("b", {}), "there is no record 'b' in collection 'notes'"),
        (notes.delete("a", if_match=made), "record 'a' of collection 'notes' was updated at "),
    ):
        with pytest.raises((ConflictError, NotFoundError)) as refused:
            await call
        assert str(refused.value).startswith(said)


async def test_a_walk_may_be_sorted_by_texts_of_any_length(notes: AsyncCollection):
    await notes.create_many([{"id": f"r{n}", "text": chr(ord("a") + n) * 50_000} for n in range(5)])
    seen = [record["id"] async for record in notes.iter_list(sort="-text", batch=1)]
    assert seen == ["r4", "r3", "r2", "r1", "r0"]
    walk = notes.iter_list(sort="-text", batch=1)
    first = await anext(walk)
    await notes.update(first["id"], {"text": ""})
    with pytest.raises(ConflictError, match="'r4', behind which"):
        await anext(walk)


async def test_a_unique_index_is_held_from_its_beginning_on(client: AsyncClient, notes: AsyncCollection):
    await notes.create_many([{"id": "a", "mail": "x"}, {"id": "b", "mail": "x"}, {"id": "c"}, {"id": "d", "mail": None}])
    unique = [{"fields": ["mail"], "unique": True}]
    with pytest.raises(ConflictError, match="mail must be unique, and records 'a' and 'b' of 'notes' have the same value"):
        await client.collections.update("notes", indexes=unique)
    assert (await client.collections.get("notes")).indexes == []
    await notes.update("b", {"mail": "y"})
    settled = await client.collections.update("notes", indexes=unique)
    assert [(index.fields, index.unique, index.ready) for index in settled.indexes] == [(["mail"], True, True)]
    with pytest.raises(ConflictError, match="mail must be unique, and record 'a' of 'notes' has this value"):
        await notes.update("b", {"mail": "x"})
    await notes.delete("a")
    await notes.update("b", {"mail": "x"})
    await client.collections.update("notes", indexes=[])
    await notes.create({"mail": "x"})


@cases(
    "indexes", ["n", [5], [{"field": "n"}], ["n", "n"], ["a b"], [[]], [{"fields": ["n"], "unique": 1}], ["n"] * 17, [["a"] * 9]]
)
async def test_indexes_that_are_none_are_refused(client: AsyncClient, indexes: Any):
    with pytest.raises(ValidationError) as raised:
        await client.collections.update("notes", indexes=indexes)
    assert raised.value.field.startswith("indexes")


async def test_a_schema_holds_for_what_is_written_from_then_on(client: AsyncClient, notes: AsyncCollection):
    await notes.create({"id": "old", "age": "unknown"})
    text = {"type": "string"}
    address = {"properties": {"zip": text}}
    schema = {"required": ["name"], "properties": {"name": text, "age": {"type": "integer"}, "address": address}}
    assert (await client.collections.update("notes", schema=schema)).schema == schema
    for data, field in (
        ({"age": 5}, "data/name"), ({"name": 5}, "data/name"), ({"name": "x", "address": {"zip": 5}}, "data/address/zip")
    ):  # fmt: skip
        with pytest.raises(ValidationError) as raised:
            await notes.create(data)
        assert raised.value.field == field
    with pytest.raises(ValidationError) as raised:
        await notes.create_many([{"name": "x"}, {"name": "x", "age": "y"}])
    assert raised.value.field == "data/1/age"
    with pytest.raises(ValidationError):
        await notes.update("old", {"name": "x"})
    await notes.update("old", {"name": "x", "age": 5})
    await client.collections.update("notes", schema={})
    await notes.create({"age": "y"})


@cases("schema", [5, [], "x", {"type": "nothing"}, {"properties": 5}, {"$ref": "other.json"}, {"x": "y" * 40_000}, {1: object()}])
async def test_a_schema_that_is_none_is_refused(client: AsyncClient, schema: Any):
    with pytest.raises(ValidationError) as raised:
        await client.collections.update("notes", schema=schema)
    assert raised.value.field.startswith("schema")


async def test_collections_are_listed_by_name(client: AsyncClient):
    for name in ("b", "_a"):
        await client.collection(name).create({})
    assert [settled.name for settled in await client.collections.list()] == ["_a", "b"]
    with pytest.raises(NotFoundError):
        await client.collections.get("c")


@pytest.mark.parametrize("settings", [Settings(query_ms_max=1)])
async def test_a_list_that_takes_too_long_is_called_off(client: AsyncClient, notes: AsyncCollection, settings: Settings):
    for start in range(0, 4_000, 1_000):
        await notes.create_many([{"n": start + n, "text": "x" * 2_000} for n in range(1_000)])
    with pytest.raises(ValidationError, match="took longer than 1 ms") as raised:
        await notes.count("text ~ 'a%b%c' || text ~ 'd%e' || n = 0.5")
    assert raised.value.field == "filter"


@pytest.mark.parametrize("settings", [Settings(page_bytes_max=50_000)])
async def test_a_page_that_is_too_long_is_refused_and_a_walk_takes_smaller_steps(notes: AsyncCollection, settings: Settings):
    await notes.create_many([{"text": "x" * 10_000} for _ in range(10)])
    with pytest.raises(PayloadTooLargeError, match="page_bytes_max"):
        await notes.get_list()
    assert len(await notes.get_full_list()) == 10


async def test_changes_are_told_as_they_come(client: AsyncClient, notes: AsyncCollection):
    await notes.create({"id": "before"})
    async with notes.subscribe("n > 1") as changes:
        await notes.create_many([{"id": "a", "n": 1}, {"id": "b", "n": 2}])
        change = await anext(changes)
        assert (change.action, change.record["id"], change.record["n"]) == ("create", "b", 2)
        await notes.update("a", {"n": 5})
        change = await anext(changes)
        assert (change.action, change.record["id"], change.record["n"]) == ("update", "a", 5)
        seen = change.seq
        await notes.delete("before")
        await notes.delete("b")
        change = await anext(changes)
        assert (change.action, change.record["id"], change.record["n"]) == ("delete", "b", 2)
    async with notes.subscribe(after=seen, fields="id") as changes:
        told = [await anext(changes) for _ in range(2)]
        assert [(change.action, change.record) for change in told] == [("delete", {"id": "before"}), ("delete", {"id": "b"})]


async def test_changes_by_another_client_of_the_same_file_are_told(file_url: str):
    async with AsyncClient(file_url) as one, AsyncClient(file_url) as other:
        async with one.collection("notes").subscribe() as changes:
            await other.collection("notes").create({"n": 1})
            assert (await anext(changes)).record["n"] == 1
