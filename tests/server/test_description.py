"""How the API is described: completely, for programs and for people, and without help from elsewhere."""

import re
from typing import Any

import jsonschema
import pytest

from stepwell.server.openapi import document
from stepwell.server.table import ROUTES
from tests.house.tree import ROOT
from tests.servers import Http


@pytest.fixture
async def described(http: Http) -> dict[str, Any]:
    return await http("GET", "/openapi.json", status=200, headers={"Authorization": ""})


async def test_every_route_has_an_operation_with_its_scope_and_every_answer(described: dict[str, Any]):
    operations = {
        (method.upper(), path): operation for path, methods in described["paths"].items() for method, operation in methods.items()
    }
    assert set(operations) == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        operation = operations[route.method, route.path]
        assert operation["x-scope"] == route.access
        assert ("security" in operation) == (route.access in {"public", "hook token"})
        assert {str(status) for status in [*route.answers, *route.problems]} <= set(operation["responses"])
    names = [operation["operationId"] for operation in operations.values()]
    assert len(names) == len(set(names))


async def test_what_it_refers_to_is_there_and_its_examples_fit(described: dict[str, Any]):
    text = str(described)
    for kind, name in re.findall(r"#/components/(\w+)/(\w+)", text):
        assert name in described["components"][kind]
    for name, schema in described["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            whole = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
            jsonschema.Draft202012Validator(whole).validate(example)


async def test_what_is_written_shows_no_mark_and_no_name_of_python(described: dict[str, Any]):
    for name, schema in described["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            assert re.fullmatch(r"[a-z][A-Za-z]*", field), f"{name}.{field}"


async def test_the_page_for_people_needs_no_script_and_nothing_from_elsewhere(http: Http):
    async with http.session.get(f"{http.url}/docs", headers={"Authorization": ""}) as answer:
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script" not in page
    assert " style=" not in page
    assert "://" not in re.sub(r"https?://(host|127)", "", page)
    for route in ROUTES:
        assert route.path in page
    style = await http("GET", "/docs/style.css")
    assert style.headers["Content-Type"] == "text/css; charset=utf-8"


async def test_every_answer_carries_what_keeps_browsers_from_harm(http: Http):
    for path in ("/healthz", "/api/workflows/runs", "/docs", "/nowhere"):
        headers = (await http("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert "Server" not in headers


def test_the_page_in_the_documentation_lists_every_route():
    listed = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\| `[A-Z]+ /", line)
    ]
    statuses = {route.name: [*route.answers, *sorted(set(route.problems) - set(route.answers))] for route in ROUTES}
    assert listed == [
        (f"`{route.method} {route.path}`", route.access, route.summary, " ".join(map(str, statuses[route.name])))
        for route in ROUTES
    ]


def test_the_description_is_made_once():
    assert document() is document()
