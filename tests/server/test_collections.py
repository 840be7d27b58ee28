"""Collections over HTTP: what only shows on the wire."""

from typing import Any

import pytest

from stepwell.engine.access_calls import NewKey
from stepwell.engine.api import Engine
from stepwell.server.keys import is_scope, new_key
from tests.api.test_collections import INJECTIONS
from tests.servers import Http, Live, asking

NOTES = "/api/collections/notes/records"


async def _key(engine: Engine | Any, *scopes: str) -> str:
    shown, row = new_key(NewKey(name="test", scopes=scopes), now_ms=engine.now_ms())
    assert await engine.keep_key(row)
    return shown


async def test_a_record_is_made_shown_changed_and_deleted(http: Http):
    made = await http("POST", NOTES, {"text": "hello"}, status=201)
    path = f"{NOTES}/{made['id']}"
    assert await http("GET", path, status=200) == made
    assert await http("GET", f"{path}?fields=text", status=200) == {"text": "hello"}
    changed = await http("PATCH", path, {"n": 1}, status=200)
    assert changed == {**made, "n": 1, "updated": changed["updated"]}
    assert await http("DELETE", path, status=200) == {"id": made["id"]}
    assert (await http("GET", path, status=404))["code"] == "not_found"


async def test_if_match_takes_only_the_record_that_the_caller_knows(http: Http):
    made = await http("POST", NOTES, {"id": "a"}, status=201)
    known = {"If-Match": f'"{made["updated"]}"'}
    await http("PATCH", f"{NOTES}/a", {"n": 1}, status=200, headers=known)
    await http("PATCH", f"{NOTES}/a", {"n": 2}, status=409, headers=known)
    await http("DELETE", f"{NOTES}/a", status=409, headers=known)
    refused = await http("PATCH", f"{NOTES}/a", {}, status=422, headers={"If-Match": "yesterday"})
    assert refused["errors"][0]["pointer"] == "/If-Match"
    await http("DELETE", f"{NOTES}/a", status=200, headers={"If-Match": "*"})


async def test_a_list_is_a_page_or_a_count_or_a_walk(http: Http):
    writes = [{"action": "create", "id": f"r{n}", "data": {"n": n}} for n in range(5)]
    await http("POST", f"{NOTES}:batch", {"writes": writes}, status=200)
    page = await http("GET", f"{NOTES}?page=2&perPage=2&filter=n%3E0&sort=-n&fields=n", status=200)
    assert page == {"items": [{"n": 2}, {"n": 1}], "page": 2, "perPage": 2, "totalItems": 4, "totalPages": 2}
    assert await http("GET", f"{NOTES}?count=only&filter=n%3E0", status=200) == {"items": [], "totalItems": 4}
    seen, cursor = list[int](), ""
    while cursor is not None:
        walked = await http("GET", f"{NOTES}?perPage=2&cursor={cursor}", status=200)
        seen += [record["n"] for record in walked["items"]]
        cursor = walked.get("nextCursor")
    assert seen == list(range(5))
    assert (await http("GET", f"{NOTES}?page=11&perPage=1000", status=422))["errors"][0]["pointer"] == "/page"


async def test_a_batch_is_written_as_a_whole_or_not_at_all(http: Http):
    await http("POST", NOTES, {"id": "a", "n": 1}, status=201)
    taken = {"writes": [{"action": "create", "data": {"id": "b"}}, {"action": "create", "data": {"id": "a"}}]}
    await http("POST", f"{NOTES}:batch", taken, status=409)
    bad = {"writes": [{"action": "upsert", "data": {"id": "b"}}, {"action": "upsert", "data": {"created": "today"}}]}
    refused = await http("POST", f"{NOTES}:batch", bad, status=422)
    assert refused["errors"][0]["pointer"] == "/writes/1/data/created"
    assert (await http("GET", f"{NOTES}?count=only", status=200))["totalItems"] == 1
    writes = [{"action": "upsert", "data": {"id": "b"}}, {"action": "update", "id": "a", "data": {"n": 2}}]
    done = await http("POST", f"{NOTES}:batch", {"writes": [*writes, {"action": "delete", "id": "b"}]}, status=200)
    assert [each["id"] for each in done["items"]] == ["b", "a", "b"]
    assert [each["record"] and each["record"].get("n") for each in done["items"]] == [None, 2, None]


async def test_a_write_that_is_sent_again_is_not_done_twice(http: Http):
    again = {"Idempotency-Key": "mail-4711"}
    made = await http("POST", NOTES, {"n": 1}, status=201, headers=again)
    assert await http("POST", NOTES, {"n": 1}, status=201, headers=again) == made
    assert (await http("GET", f"{NOTES}?count=only", status=200))["totalItems"] == 1


async def test_what_a_schema_refuses_is_named_where_it_stands(http: Http):
    schema = {"properties": {"age": {"type": "integer"}}}
    settled = await http("PATCH", "/api/collections/notes", {"indexes": [{"fields": ["age"]}], "schema": schema}, status=200)
    assert settled["indexes"] == [{"fields": ["age"], "unique": False, "ready": True}]
    assert await http("GET", "/api/collections/notes", status=200) == settled
    assert (await http("GET", "/api/collections", status=200))["items"] == [settled]
    assert (await http("POST", NOTES, {"age": "x"}, status=422))["errors"][0]["pointer"] == "/age"
    await http("POST", NOTES, [1], status=422)


@pytest.mark.parametrize("text", INJECTIONS)
async def test_what_is_no_filter_is_refused(http: Http, text: str):
    await http("GET", f"{NOTES}?filter={_encoded(text)}", status=422)
    headers = {"Accept": "text/event-stream"}
    await http("GET", f"{NOTES}?filter={_encoded(text)}", status=422, headers=headers)


def _encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


async def test_a_key_of_one_collection_touches_no_other(live: Live):
    reads, writes = await _key(live.engine, "records:notes:r"), await _key(live.engine, "records:notes:w")
    async with asking(live, reads) as reader, asking(live, writes) as writer:
        await writer("POST", NOTES, {"id": "a"}, status=201)
        await reader("GET", f"{NOTES}/a", status=200)
        await reader("POST", NOTES, {}, status=403)
        await writer("GET", f"{NOTES}/a", status=403)
        await reader("GET", "/api/collections/other/records", status=403)
        await writer("POST", "/api/collections/other/records", {}, status=403)
        await writer("POST", "/api/collections/other/records:batch", {"writes": []}, status=403)
        await reader("GET", "/api/collections", status=403)
        await reader("GET", "/api/collections/%2A/records", status=403)


def test_what_may_be_a_scope_of_records():
    assert all(map(is_scope, ("records:notes:r", "records:a:b:w", "records:*:r")))
    assert not any(map(is_scope, ("records", "records:notes", "records::r", "records:notes:x", "records:a\n:r")))
