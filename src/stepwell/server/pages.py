"""Pages for people: the description of the API, without script, made from what programs read; and where hooks are answered."""

from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Final

import msgspec

from stepwell.server.answers import JSON, Answer, encode
from stepwell.server.openapi import document

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_APPROVE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_APPROVE: Final = {
    "/approve": ("page.html", "text/html"),
    "/approve/style.css": ("style.css", "text/css"),
    "/approve/script.js": ("script.js", "text/javascript"),
}
_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 64rem; padding: 1rem; }
h2 { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1rem; }
h3 { font-size: 1rem; margin: 2rem 0 .25rem; }
h3 b { border-radius: .25rem; background: var(--soft); font: 600 .8rem ui-monospace, monospace; padding: .15rem .4rem; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: .25rem; overflow-x: auto; padding: .75rem; }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
nav a { display: inline-block; margin-right: 1rem; }
"""


@cache
def pages() -> Mapping[str, Answer]:
    """Return what is served beside the API, by its path."""
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
    return {
        "/openapi.json": Answer(200, encode(document())),
        "/docs": Answer(200, _page(document()).encode(), media="text/html; charset=utf-8", headers=headers),
        "/docs/style.css": Answer(200, _STYLE.encode(), media="text/css; charset=utf-8", headers=headers),
    } | {path: _approve(name, media) for path, (name, media) in _APPROVE.items()}


def _approve(name: str, media: str) -> Answer:
    headers = {"content-security-policy": _APPROVE_POLICY, "x-robots-tag": "noindex"}
    body = (files("stepwell.server") / "approve" / name).read_bytes()
    return Answer(200, body, media=f"{media}; charset=utf-8", headers=headers)


def _page(described: dict[str, Any]) -> str:
    operations = [
        (path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]  # fmt: skip
    tags = [tag["name"] for tag in described["tags"]]
    sections = "".join(
        f'<h2 id="{_e(tag)}">{_e(tag)}</h2>' + "".join(_operation(*each) for each in operations if each[2]["tags"] == [tag])
        for tag in tags
    )
    schemas = "".join(_schema(name, schema) for name, schema in described["components"]["schemas"].items())
    links = "".join(f'<a href="#{_e(tag)}">{_e(tag)}</a>' for tag in [*tags, "schemas"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>stepwell API</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/docs/style.css"></head>'
        f"<body><h1>stepwell API</h1><p>{_e(described['info']['description'])}</p>"
        f'<p>For programs: <a href="/openapi.json">openapi.json</a></p><nav>{links}</nav>{sections}'
        f'<h2 id="schemas">schemas</h2>{schemas}</body></html>'
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = [
        (each["name"], each["in"], _kind(each["schema"]), each.get("description") or each["schema"].get("description", ""))
        for each in operation["parameters"]
    ]
    answers = [(status, _content(answer)) for status, answer in operation["responses"].items() if status < "400"]
    content = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
    body = f"<p>Body: {_kind(content['schema'])}</p>" if content else ""
    return (
        f'<h3 id="{_e(operation["operationId"])}"><b>{_e(method.upper())}</b> <code>{_e(path)}</code></h3>'
        f"<p>{_e(operation['summary'])}. {_e(operation['description'])}</p>{body}"
        f"{_table(parameters)}{_table(answers)}"
    )


def _content(answer: dict[str, Any]) -> str:
    return " or ".join(
        f"{_kind(content['schema'])}{'' if media == JSON else f' ({_e(media)})'}" for media, content in answer["content"].items()
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        (field, _kind(shape), "" if field in required else "optional", _e(shape.get("description", "")))
        for field, shape in schema.get("properties", {}).items()
    ]
    shown = "".join(
        f"<pre>{_e(msgspec.json.format(msgspec.json.encode(each)).decode())}</pre>" for each in schema.get("examples", ())
    )
    return (
        f'<h3 id="schema-{_e(name)}"><code>{_e(name)}</code></h3><p>{_e(schema.get("description", ""))}</p>{_table(rows)}{shown}'
    )


def _table(rows: list[Any]) -> str:
    """Return a table. The first cell is a name, and escaped here; the others are HTML already."""
    if not rows:
        return ""
    lines = (f"<tr><td><code>{_e(first)}</code></td>{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>" for first, *rest in rows)
    return f"<table>{''.join(lines)}</table>"


def _kind(schema: Any) -> str:
    """Return a schema in a few words, as HTML."""
    if not schema or schema is True:
        return "any JSON"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{_e(name)}">{_e(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "enum" in schema:
        return " ".join(f"<code>{_e(str(each))}</code>" for each in schema["enum"])
    kind: Any = schema.get("type", "any JSON")
    if kind == "array":
        items: Any = [each for each in (schema.get("items"), *schema.get("prefixItems", ())) if each]
        return f"list of {', '.join(map(_kind, items)) or 'any JSON'}"
    shown = str(kind) if isinstance(kind, str) else " or ".join(kind)
    return _e(f"{shown} ({schema['format']})" if "format" in schema else shown)


def _e(text: str) -> str:
    return escape(text, quote=True)
