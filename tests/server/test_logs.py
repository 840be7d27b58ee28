"""What the server logs and counts: enough to find a request, and nothing that opens a door."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from stepwell.server.logs import configure, redacted
from tests.servers import KEY, Http

RUNS = "/api/workflows/runs"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, as JSON."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("json", stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_what_is_secret_is_taken_out_wherever_it_stands():
    secrets = [
        KEY[13:], "c2VjcmV0LXRva2Vu", "pa55word", "dXNlcjpwYXNz", "sesame",
    ]  # fmt: skip
    text = (
        f"key {KEY}, GET /api/workflows/hooks/swh.cg.1.2.3.{secrets[1]} HTTP/1.1, hooks/{secrets[1]}?x, "
        f"postgresql://app:{secrets[2]}@db/x, Authorization: Basic {secrets[3]}, {{'authorization': 'Bearer {secrets[4]}'}}, "
        f"bearer {secrets[4]}, password={secrets[2]}"
    )
    for secret in secrets:
        assert secret in text
        assert secret not in redacted(text)
    assert "swk_testtest_[redacted]" in redacted(text)


def test_what_a_terminal_would_obey_is_shown_instead():
    assert redacted("a\x1b[31mred\x07\rb") == "a\\x1b[31mred\\x07\\x0db"


async def test_a_request_is_one_line_that_names_it_and_no_secret(http: Http, logged: io.StringIO):
    await http("POST", RUNS, {"workflowName": "w", "runId": "r", "input": "a payload"}, status=201)
    hook = await http("POST", "/api/workflows/hooks", {"runId": "r", "name": "n", "action": "a"}, status=201)
    await http("POST", f"/api/workflows/hooks/{hook['token']}", {"p": 1}, status=200)
    refused = await http("GET", f"{RUNS}?token={KEY}", status=400)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [(line["event"], line["status"]) for line in lines] == [
        (f"POST {RUNS}", 201), ("POST /api/workflows/hooks", 201), ("POST /api/workflows/hooks/[redacted]", 200),
        (f"GET {RUNS}", 400),
    ]  # fmt: skip
    assert lines[-1]["request_id"] == refused["requestId"]
    assert lines[0]["key_id"] == "environment"
    assert lines[0]["timestamp"].endswith("Z")
    for secret in (KEY, hook["token"], "a payload"):
        assert secret not in logged.getvalue()


async def test_an_error_that_nobody_has_foreseen_is_logged_whole_and_answered_without_its_text(
    http: Http, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object) -> None:
        raise RuntimeError(f"select secret from somewhere with {KEY}")

    monkeypatch.setattr("stepwell.engine.embedded.EmbeddedEngine.stats", fail)
    problem = await http("GET", "/api/workflows/stats", status=500)
    assert "select" not in json.dumps(problem)
    line = next(line for line in map(json.loads, logged.getvalue().splitlines()) if line["level"] == "error")
    assert problem["requestId"] in line["event"]
    assert "RuntimeError: select secret" in line["exception"]
    assert KEY not in logged.getvalue()


async def test_what_is_counted_has_names_of_workflows_and_no_ids(http: Http):
    await http("POST", RUNS, {"workflowName": "mail", "runId": "an-id"}, status=201)
    await http("GET", f"{RUNS}/an-id", status=200)
    async with http.session.get(f"{http.url}/metrics") as answer:
        text = await answer.text()
    assert 'stepwell_runs_triggered_total{workflow="mail"} 1.0' in text
    assert 'stepwell_http_requests_total{route="getRun",status="200"} 1.0' in text
    assert 'stepwell_runs{status="pending"} 1.0' in text
    assert "an-id" not in text
