"""Servers as somebody would run them: in processes of their own, from the command line."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import Running, Shell

MODULE = """
from stepwell import step, workflow

@workflow("answer")
async def answer(ctx, input):
    return await step("think", lambda: {value})()
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def _url(server: Running) -> str:
    found = re.search(r"http://[\w.:]+", server.until("ready: "))
    assert found
    return found[0]


def _ask(url: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_the_first_start_shows_a_key_once_and_no_log_ever_does(shell: Shell):
    with shell.start("serve", "--port", "0", "--logs", "json") as server:
        key = server.until("shown this once").split()[-1]
        url = _url(server)
        assert _ask(f"{url}/api/workflows/runs")[0] == 401
        assert _ask(f"{url}/api/workflows/runs", {"workflowName": "w"}, key=key)[0] == 201
        server.send(signal.SIGTERM)
        done = server.done()
    assert done.code == 0
    assert done.err.count(key) == 1
    with shell.start("serve", "--port", "0") as again:
        assert _ask(f"{_url(again)}/api/workflows/runs", key=key)[0] == 200
        assert key not in "".join(again.err)


def test_a_key_is_made_used_and_revoked_while_a_server_runs(shell: Shell):
    with shell.start("serve", "--port", "0", STEPWELL_API_KEY="a-key-from-the-environment") as server:
        url = f"{_url(server)}/api/workflows/runs"
        made = shell.run("keys", "create", "--name", "shop", "--scope", "read", "--workflow", "order-", "--json").json
        assert _ask(f"{url}?workflowName=order-1", key=made["key"])[0] == 200
        assert _ask(url, {"workflowName": "order-1"}, key=made["key"])[0] == 403
        assert _ask(url, key="a-key-from-the-environment")[0] == 200
        listed = shell.run("keys", "list")
        assert made["keyId"] in listed.out
        assert made["key"].split("_", 2)[2] not in listed.out
        assert shell.run("keys", "revoke", made["keyId"]).code == 0
        while _ask(f"{url}?workflowName=order-1", key=made["key"])[0] == 200:
            pass
        assert shell.run("keys", "revoke", made["keyId"]).code == 0, "again is no error"
        assert shell.run("keys", "revoke", "00000000").code == 4
    actions = [(entry["who"], entry["action"]) for entry in shell.run("db", "audit").lines]
    assert actions[:3] == [("cli", "startServer"), ("cli", "createKey"), (made["keyId"], "useKey")]
    assert ("cli", "revokeKey") in actions


def test_the_audit_log_has_starts_with_their_settings_and_migrations(shell: Shell):
    assert shell.run("db", "migrate").code == 0
    options = ["--no-auth", "--allow-origin", "https://ops.example.com"]
    settings = {"STEPWELL_SERVER_AUDIT_DAYS": "30", "STEPWELL_MAX_EVENTS": "500"}
    for command in (["serve", *options], ["dev", "--data", "."]):
        with shell.start(*command, "--port", "0", STEPWELL_URL="sqlite:///stepwell.db", **settings) as server:
            _url(server)
            server.send(signal.SIGTERM)
            assert server.done().code == 0
    (migrated,) = shell.run("db", "audit").lines
    assert (migrated["who"], migrated["action"]) == ("cli", "migrateStore")
    started = [entry["target"].split() for entry in shell.run("db", "audit", "--store", "sqlite:///stepwell.db").lines]
    given = ["STEPWELL_MAX_EVENTS=500", "STEPWELL_SERVER_AUDIT_DAYS=30"]
    assert [entry[1:] for entry in started] == [[*options, *given], ["--no-auth", *given]]


def test_keys_are_made_listed_and_revoked_and_the_audit_log_read_through_a_server(shell: Shell):
    with shell.start("serve", "--port", "0", STEPWELL_API_KEY="a-key-from-the-environment") as server:
        at = ["--url", _url(server)]
        may = {"STEPWELL_API_KEY": "a-key-from-the-environment"}
        options = ["--scope", "admin", "--workflow", "mail-", "--triggers-per-second", "5", "--expires", "1d"]
        made = shell.run("keys", "create", "--name", "mail", *options, "--json", *at, **may).json
        assert (made["workflows"], made["triggersPerSecond"]) == (["mail-"], 5)
        limited = {"STEPWELL_API_KEY": made["key"]}
        refused = shell.run("keys", "create", "--name", "wide", *at, **limited)
        assert (refused.code, "workflows" in refused.err) == (1, True)
        refused = shell.run("keys", "create", "--name", "odd", "--scope", "write", *at, **may)
        assert (refused.code, "--scope" in refused.err, "scopes/0" in refused.err) == (2, True, True)
        listed = shell.run("keys", "list", *at, **may).out
        assert "mail-*" in listed
        assert "5/s" in listed
        assert made["key"].split("_", 2)[2] not in listed
        assert shell.run("keys", "revoke", made["keyId"], *at, **may).code == 0
        assert shell.run("keys", "revoke", "00000000", *at, **may).code == 4
        through = shell.run("db", "audit", *at, **may)
        assert through.lines == shell.run("db", "audit").lines[: len(through.lines)]
        told = [(entry["who"], entry["action"], entry["target"], entry["result"]) for entry in through.lines]
        assert ("environment", "createKey", made["keyId"], "201") in told
        assert ("environment", "revokeKey", made["keyId"], "200") in told


def test_a_server_refuses_to_start_where_it_would_be_open_or_cannot_be(shell: Shell):
    refused = shell.run("serve", "--host", "0.0.0.0", "--port", "0")
    assert (refused.code, "stepwell keys create" in refused.err) == (2, True)
    assert "unencrypted" in refused.err
    assert shell.run("serve", "--host", "0.0.0.0", "--port", "0", "--no-auth").code == 2
    assert "SQLite" in shell.run("serve", "--processes", "2").err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = shell.run("serve", "--port", str(taken.getsockname()[1]), "--no-auth")
    assert (done.code, "--port" in done.err) == (3, True)
    assert "pip install 'stepwell[server]'" not in done.err


def test_dev_executes_the_code_that_is_there_now(shell: Shell):
    module = shell.folder / "app.py"
    module.write_text(MODULE.format(value=1), encoding="utf-8")
    with shell.start("dev", "app.py", "--port", "0", "--data", "data") as server:
        url = _url(server)
        server.until("ready: answer")
        assert _ask(f"{url}/api/workflows/runs", {"workflowName": "answer", "runId": "a"})[0] == 201
        assert _ask(f"{url}/api/workflows/runs/a?wait=30s")[1]["output"] == 1
        module.write_text("this is no Python", encoding="utf-8")
        server.until("started again when its code changes")
        module.write_text(MODULE.format(value=2), encoding="utf-8")
        server.until("ready: answer")
        assert _ask(f"{url}/api/workflows/runs", {"workflowName": "answer", "runId": "b"})[0] == 201
        assert _ask(f"{url}/api/workflows/runs/b?wait=30s")[1]["output"] == 2
        assert shell.run("runs", "show", "b", "--url", url, "--json").json["status"] == "completed"
        server.send(signal.SIGINT)
        assert server.done().code == 0
    assert (shell.folder / "data" / "stepwell.db").exists()


def test_doctor_says_what_is_wrong(shell: Shell):
    shell.run("trigger", "nobody-knows-it")
    found = shell.run("doctor", "--json")
    assert found.code == 1
    wrong = [each for each in found.json["items"] if not each["ok"]]
    assert [each["check"] for each in wrong] == ["coverage"]
    assert "1 pending runs of 'nobody-knows-it'" in wrong[0]["detail"]
    away = shell.run("doctor", "--store", "http://127.0.0.1:9")
    assert (away.code, "wrong" in away.out) == (1, True)
    hidden = shell.run("doctor", "--store", "postgresql://app:pa55word@127.0.0.1:9/db")
    assert "pa55word" not in hidden.out + hidden.err


def test_an_empty_store_is_well(shell: Shell):
    assert shell.run("doctor").code == 0


def test_doctor_tells_which_database_it_is_and_what_it_lacks(shell: Shell, postgres_url: str):
    def database(url: str) -> str:
        items = shell.run("doctor", "--json", "--store", url).json["items"]
        return next(each["detail"] for each in items if each["check"] == "database")

    assert shell.run("db", "migrate", "--store", "sqlite:///app.db").code == 0
    assert database("sqlite:///app.db").startswith("SQLite 3.")
    assert database(postgres_url).startswith("PostgreSQL ")
    assert database(f"{postgres_url}&without=skip_locked").endswith(", without skip_locked")
