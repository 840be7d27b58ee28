"""Input that breaks servers: each is refused with an answer that says what is wrong, and the server lives on."""

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from stepwell.engine.api import Engine
from stepwell.settings import ServerSettings
from tests.servers import KEY, Http, Live, asking, serving

RUNS = "/api/workflows/runs"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
async def _lives_on(http: Http) -> Any:
    yield
    assert await http("GET", "/healthz", status=200) == {"status": "ok"}
    assert (await http("GET", RUNS, status=200))["items"] == [], "something was stored"  # promise 14


@pytest.mark.parametrize(
    ("data", "status", "pointer"),
    [
        (b"[" * 100_000, 422, ""),
        (b'{"workflowName":"w","input":' + b"[" * 101 + b"]" * 101 + b"}", 422, "/input"),
        (b'{"workflowName":"w","input":[' + b"9" * 5_000 + b"]}", 422, "/input/0"),
        (b'{"workflowName":"w","input":[' + b"9" * 1_001 + b"]}", 422, "/input/0"),
        (b'{"workflowName":"w","input":{"a":1e400}}', 422, "/input/a"),
        (b'{"workflowName":"w","input":{"a":NaN}}', 422, "/input/a"),
        (b'{"workflowName":"w","input":{"a":-Infinity}}', 422, "/input/a"),
        (b'{"workflowName":"w","input":{"a":"\\ud800"}}', 422, "/input/a"),
        (b'{"workflowName":"w","input":{"a":"\\u0000"}}', 422, "/input/a"),
        (b'{"workflowName":"w","input":{"\\u0000":1}}', 422, "/input"),
        (b'{"workflowName":"w","workflowName":"v"}', 422, ""),
        (b'{"workflowName":"w","input":{"a":1,"a":2}}', 422, ""),
        (b'\xef\xbb\xbf{"workflowName":"w"}', 400, ""),
        ('{"workflowName":"w"}'.encode("utf-16"), 400, ""),
        (b'{"workflowName":"\xff"}', 400, ""),
        (b'{"workflowName":"w"', 400, ""),
        (b"", 400, ""),
        (b"nil", 400, ""),
        (b"[]", 422, ""),
        (b"null", 422, ""),
        (b'{"workflowName":"w","maxEvents":9223372036854775808}', 422, "/maxEvents"),
        (b'{"workflowName":"w","priority":1.5}', 422, "/priority"),
        (b'{"workflowName":"a\\u0007b"}', 422, "/workflowName"),
        (b'{"workflowName":"' + b"n" * 201 + b'"}', 422, "/workflowName"),
        (b'{"workflowName":"w","runId":"../../etc"}', 422, "/runId"),
        (b'{"workflowName":"w","delay":"1e3s"}', 422, "/delay"),
        (b'{"workflowName":"w","delay":-1}', 422, "/delay"),
        (b'{"workflowName":"w","delay":"99999999d"}', 422, "/delay"),
        (b'{"workflowName":"w","delay":"1s","startAt":"2030-01-01T00:00:00Z"}', 422, "/startAt"),
        (b'{"workflowName":"w","startAt":"2030-01-01T00:00:00"}', 422, "/startAt"),
        (b'{"workflowName":"w","startAt":"12345-01-01T00:00:00Z"}', 422, "/startAt"),
        (b'{"workflowName":"w","__proto__":{},"idempotency_key":"k"}', 422, "/__proto__"),
        (b'{"workflowName":"w","tags":["' + b"t" * 201 + b'"]}', 422, "/tags/0"),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused_and_the_place_is_named(http: Http, data: bytes, status: int, pointer: str):
    problem = await http("POST", RUNS, data=data, headers=JSON, status=status)  # trap 37
    assert problem["code"] in {"validation", "not_json", "invalid_duration"}
    assert any(each["pointer"].startswith(pointer) for each in problem["errors"])
    assert "Traceback" not in json.dumps(problem)


async def test_integers_of_a_thousand_digits_come_back_as_they_were(http: Http, live: Live):
    digits = "9" * 1_000
    data = b'{"workflowName":"w","runId":"big","input":[' + digits.encode() + b",-18446744073709551616]}"
    async with http.session.post(http.url + RUNS, data=data, headers=JSON) as answer:
        assert answer.status == 201
        assert digits in await answer.text()
    assert f"[{digits},-18446744073709551616]" in await _text(http, f"{RUNS}/big")
    await _forget(live, "big")


async def _text(http: Http, path: str) -> str:
    async with http.session.get(http.url + path) as answer:
        return await answer.text()


async def _forget(live: Live, run_id: str) -> None:
    """The runs of a test that stores some are none of those that the fixture looks for."""
    await live.engine.cancel(run_id, None, True)
    live.engine.store._writer.connection.execute("DELETE FROM runs; DELETE FROM events; DELETE FROM idempotency")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
async def test_a_body_of_a_type_that_web_pages_may_send_is_not_taken(http: Http, media: str):
    await http("POST", RUNS, data=b'{"workflowName":"w"}', headers={"Content-Type": media}, status=415)


async def test_a_compressed_body_is_not_taken(http: Http):
    headers = JSON | {"Content-Encoding": "gzip"}
    await http("POST", RUNS, data=b"\x1f\x8b\x08", headers=headers, status=415)  # trap 38


async def test_a_body_over_the_limit_is_refused_whether_it_says_how_long_it_is_or_not(http: Http):
    async def parts() -> Any:
        for _ in range(80):
            yield b" " * 65_536

    long = b" " * (5 * 1024 * 1024)
    assert (await http("POST", RUNS, data=long, headers=JSON, status=413))["limit"] == "body_bytes_max"
    async with http.session.post(http.url + RUNS, data=parts(), headers=JSON) as answer:
        assert answer.status == 413


async def test_a_payload_of_the_limit_is_taken_and_a_byte_more_is_not(http: Http, live: Live):
    limit = live.engine.settings.payload_bytes_max
    body = {"workflowName": "w", "runId": "full", "input": "é" * ((limit - 2) // 2)}
    await http("POST", RUNS, body, status=201)  # trap 5
    problem = await http("POST", RUNS, body | {"runId": "over", "input": "é" * ((limit - 2) // 2) + "x"}, status=413)
    assert problem["limit"] == "payload_bytes_max"
    assert problem["errors"][0]["pointer"] == "/input"
    await _forget(live, "full")


async def test_urls_and_headers_have_limits(http: Http):
    assert (await http("GET", f"{RUNS}?cursor={'c' * 9_000}", status=414))["limit"] == "url_bytes_max"
    many = {f"X-{number}": "1" for number in range(101)}
    assert (await http("GET", RUNS, headers=many, status=431))["limit"] == "headers_max"
    assert (await http("GET", RUNS, headers={"X-Long": "1" * 17_000}, status=431))["limit"] == "headers_bytes_max"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=501", "limit"), ("limit=1000000000", "limit"), ("limit=x", "limit"), ("limit=", "limit"),
        ("limit=1&limit=2", "limit"), ("status=done", "status"), ("status=null", "status"), ("colour=red", "colour"),
        ("cursor=AAAA", "cursor"), ("cursor=%00", "cursor"), ("createdAfter=yesterday", "createdAfter"),
        ("createdAfter=1e9", "createdAfter"), ("include=secrets", "include"), ("tag=" + "t" * 201, "tag"),
        ("workflow_name=w", "workflow_name"), ("workflowName=%27)%20OR%20%271%27=%271%00", "workflowName"),
    ],
)  # fmt: skip
async def test_a_parameter_that_makes_no_sense_is_refused_by_its_name(http: Http, query: str, field: str):
    problem = await http("GET", f"{RUNS}?{query}", status=422)  # trap 40
    assert field in problem["errors"][0]["pointer"]
    assert "sql" not in json.dumps(problem).lower()


async def test_a_cursor_is_of_one_list_and_unchanged(http: Http, live: Live):
    for _ in range(3):
        await http("POST", RUNS, {"workflowName": "w", "runId": f"r{_}"}, status=201)
    cursor = (await http("GET", f"{RUNS}?limit=1", status=200))["nextCursor"]
    changed = ("A" if cursor[5] != "A" else "B").join([cursor[:5], cursor[6:]])
    await http("GET", f"{RUNS}?limit=1&cursor={changed}", status=422)
    await http("GET", f"{RUNS}?limit=1&status=pending&cursor={cursor}", status=422)
    for _ in range(3):
        await live.engine.cancel(f"r{_}", None, True)
    await _forget(live, "r0")


@pytest.mark.parametrize("key", ["key", "api_key", "token", "access_token"])
async def test_a_key_in_the_url_is_refused_so_that_nobody_gets_used_to_it(http: Http, key: str):
    problem = await http("GET", f"{RUNS}?{key}={KEY}", status=400)
    assert problem["code"] == "key_in_url"
    assert KEY not in json.dumps(problem)


@pytest.mark.parametrize("path", ["/", "/api", f"{RUNS}/", "//api/workflows/runs", f"{RUNS}/%2e%2e", "/docs/../healthz2", "/%00"])
async def test_paths_that_are_none_are_not_found(http: Http, path: str):
    async with http.session.get(http.url + path, allow_redirects=False) as answer:
        assert answer.status == 404


async def test_methods_that_are_none_are_answered_with_those_that_are(http: Http):
    answer = await http("PUT", RUNS)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST, GET, HEAD")
    assert (await http("TRACE", RUNS)).status == 405


async def test_a_foreign_host_and_a_foreign_page_are_refused(http: Http):
    await http("GET", "/healthz", headers={"Host": "evil.example"}, status=421)
    await http("GET", "/healthz", headers={"Host": "127.0.0.1.evil.example"}, status=421)
    await http("POST", RUNS, {"workflowName": "w"}, headers={"Origin": "http://evil.example"}, status=403)
    await http("POST", RUNS, {"workflowName": "w"}, headers={"Origin": "null"}, status=403)


async def test_without_keys_pages_and_hosts_are_looked_at_all_the_same(engine: Engine):
    async with serving(engine, no_auth=True) as live, asking(live, None) as http:
        await http("GET", RUNS, status=200)
        await http("GET", RUNS, headers={"Host": "evil.example"}, status=421)
        await http("POST", RUNS, {"workflowName": "w"}, headers={"Origin": "http://evil.example"}, status=403)
        await http("POST", RUNS, data=b'{"workflowName":"w"}', headers={"Content-Type": "text/plain"}, status=415)


async def test_wrong_keys_are_answered_alike_and_soon_not_at_all(engine: Engine):
    limits = ServerSettings(failed_keys_per_minute_max=3)
    async with serving(engine, limits=limits) as live, asking(live, None) as http:
        said = [
            await http("GET", RUNS, headers={"Authorization": f"Bearer {key}"}, status=401) for key in ("swk_a_b", "x", KEY[:-1])
        ]
        assert len({each["detail"] for each in said}) == 1
        answer = await http("GET", RUNS, headers={"Authorization": "Bearer x"})
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) >= 1
        await http("GET", RUNS, headers={"Authorization": f"Bearer {KEY}"}, status=200)


@pytest.fixture
def raw(live: Live) -> Iterator[socket.socket]:
    port = int(live.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)
        yield connection


async def _answer(connection: socket.socket) -> bytes:
    loop, said = asyncio.get_running_loop(), b""
    while part := await loop.sock_recv(connection, 65_536):
        said += part
    return said


async def test_twenty_thousand_headers_are_cut_off_before_they_are_all_there(raw: socket.socket):
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(raw, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: 1\r\n" * 20_000)
    assert (await _answer(raw)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_a_head_that_takes_too_long_is_not_waited_for(engine: Engine, sent: bytes):
    async with serving(engine, limits=ServerSettings(head_ms_max=50)) as live:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2]))) as raw:
            raw.setblocking(False)
            await loop.sock_sendall(raw, sent)
            assert (await _answer(raw)).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_takes_too_long_is_not_waited_for(engine: Engine):
    head = f"POST {RUNS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    async with serving(engine, limits=ServerSettings(body_ms_max=50)) as live:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2]))) as raw:
            raw.setblocking(False)
            await loop.sock_sendall(raw, head.encode() + b"Content-Length: 100\r\n\r\n{")
            assert (await _answer(raw)).startswith(b"HTTP/1.1 408 ")
