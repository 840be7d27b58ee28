"""``stepwell db``, as the person who looks after a store runs it."""

import json
import os
import signal
import sys
from pathlib import Path

import apsw
import pytest

from stepwell.store.migrate import MIGRATIONS
from tests.e2e.commands import Shell

APP = """
from stepwell import step, workflow

@workflow("add")
async def add(ctx, input):
    return {"sum": await step("sum", sum)(input)}

@workflow("fails")
async def fails(ctx, input):
    raise ValueError("no")
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "shop.py").write_text(APP)
    return Shell(tmp_path)


def filled(shell: Shell) -> None:
    assert shell.run("run", "shop:add", "--input", "[1]", "--id", "added", "--key", "k").code == 0
    assert shell.run("run", "shop:fails", "--input", "[1]", "--id", "failed").code == 1
    assert shell.run("trigger", "add", "--input", "[1]", "--id", "new").code == 0


def ids(shell: Shell) -> set[str]:
    return {run["runId"] for run in shell.run("runs", "list", "--json").json["items"]}


def test_old_runs_are_counted_and_removed_and_it_is_noted(shell: Shell):
    filled(shell)
    young = shell.run("db", "prune", "--older-than", "1d", "--yes", "--json")
    assert young.json == {"matched": 0, "removed": 0, "rows": 0, "held": 0}
    counted = shell.run("db", "prune", "--older-than", "0s", "--dry-run")
    assert (counted.code, counted.out) == (0, "2 runs would be removed\n")
    assert ids(shell) == {"added", "failed", "new"}
    some = shell.run("db", "prune", "--older-than", "0s", "--status", "failed", "--yes", "--json")
    assert some.json["removed"] == 1
    other = shell.run("db", "prune", "--older-than", "0s", "--workflow", "other", "--yes", "--json")
    assert other.json["matched"] == 0
    assert ids(shell) == {"added", "new"}
    assert shell.run("db", "prune", "--older-than", "0s", "--workflow", "add", "--yes").out == "1 runs are removed\n"
    assert ids(shell) == {"new"}
    assert shell.run("runs", "show", "added").code == 4
    noted = [entry["result"] for entry in shell.run("db", "audit").lines if entry["action"] == "pruneRuns"]
    assert noted[::2] == ["started"] * 4
    assert noted[1::2] == ["0 runs", "1 runs", "0 runs", "1 runs"]
    assert shell.run("db", "check").code == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "--older-than"),
        (("--older-than", "1d", "--before", "2026-01-01T00:00:00Z"), "--older-than"),
        (("--older-than", "soon"), "--older-than"),
        (("--before", "2999-01-01T00:00:00Z"), "future"),
        (("--older-than", "1d", "--status", "running"), "--status"),
        (("--older-than", "0s"), "add --yes"),
        (("--older-than", "0s", "--yes", "--store", "http://127.0.0.1:1"), "--store"),
    ],
)
def test_a_removal_that_makes_no_sense_removes_nothing_and_says_why(shell: Shell, args: tuple[str, ...], said: str):
    filled(shell)
    refused = shell.run("db", "prune", *args)
    assert refused.code == 2
    assert said in refused.err
    assert ids(shell) == {"added", "failed", "new"}


def test_a_store_that_is_not_there_is_not_made_to_be_emptied(shell: Shell):
    refused = shell.run("db", "prune", "--older-than", "1d", "--yes")
    assert refused.code == 3
    assert "there is no store" in refused.err
    assert not (shell.folder / "runs.db").exists()


def test_what_is_exported_can_be_read_by_another_tool(shell: Shell):
    filled(shell)
    shell.run("signal", "new", "go", "--payload", "[1]", "--id", "s")
    written = shell.run("db", "export", "all.jsonl", "--json")
    assert written.code == 0, written.err
    assert written.json == {"file": "all.jsonl", "runs": 3, "events": 8, "signals": 1, "unreadable": 0}
    file = shell.folder / "all.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["kind"] for line in lines[:2]] == ["export", "run"]
    assert lines[0]["format"] == 1
    assert lines[-1] == {"kind": "end", "runs": 3, "events": 8, "signals": 1, "unreadable": 0}
    shown = shell.run("runs", "show", "added", "--json").json
    shown.pop("created", None)
    assert next(line["run"] for line in lines if line["kind"] == "run" and line["run"]["runId"] == "added") == shown
    events = shell.run("runs", "events", "added", "--json").json
    assert [line["event"] for line in lines if line["kind"] == "event" and line["event"]["runId"] == "added"] == events["items"]
    noted = [entry["result"] for entry in shell.run("db", "audit").lines if entry["action"] == "exportRuns"]
    assert noted == ["started", "3 runs"]
    piped = shell.run("db", "export", "--run", "failed")
    assert [line["kind"] for line in piped.lines] == ["export", "run", "event", "event", "event", "end"]


def test_an_export_that_does_not_come_to_its_end_leaves_no_file(shell: Shell):
    filled(shell)
    assert shell.run("db", "export", "all.jsonl", "--run", "nobody").code == 4
    assert shell.run("db", "export", "nowhere/all.jsonl").code == 2
    assert shell.run("db", "export", "").code == 2
    assert shell.run("db", "export", ".").code == 2
    assert shell.run("db", "export", "all.jsonl", "--run", "added", "--status", "failed").code == 2
    assert sorted(path.name for path in shell.folder.glob("*.jsonl")) == []
    assert list(shell.folder.glob(".*.part")) == []
    assert shell.run_unread("db", "export").code == 130


def test_an_export_that_is_killed_leaves_no_file_of_that_name_and_the_audit_log_tells(shell: Shell):
    filled(shell)
    assert shell.run("db", "export", "all.jsonl", STEPWELL_FAILPOINTS="export.run=kill@3").code == -signal.SIGKILL
    assert not (shell.folder / "all.jsonl").exists()
    failed = shell.run("db", "export", "all.jsonl", "--run", "added", "--run", "nobody")
    assert failed.code == 4
    assert shell.run("db", "export", "all.jsonl").code == 0
    noted = [entry["result"] for entry in shell.run("db", "audit").lines if entry["action"] == "exportRuns"]
    assert noted == ["started", "started", "failed: there is no run 'nobody'", "started", "3 runs"]


def test_an_export_for_which_there_is_no_room_says_so_and_leaves_no_file(shell: Shell, postgres_url: str):
    shell.url = postgres_url
    assert shell.run("trigger", "add", "--input", json.dumps("x" * 100_000)).code == 0
    full = shell.paste(f"ulimit -f 50; {sys.executable} -m stepwell db export all.jsonl")
    assert (full.code, "'all.jsonl' cannot be written: File too large" in full.err) == (2, True), full.err
    assert list(shell.folder.glob("*all.jsonl*")) == []
    assert "failed: 'all.jsonl' cannot be written" in shell.run("db", "audit").lines[-1]["result"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_an_export_into_a_pipe_or_device_writes_there_and_does_not_replace_it(shell: Shell):
    filled(shell)
    full = shell.paste(f"{sys.executable} -m stepwell db export > /dev/full")
    assert (full.code, "standard output cannot be written: No space left" in full.err) == (2, True), full.err
    os.mkfifo(shell.folder / "pipe")
    read = shell.paste(f"cat pipe & {sys.executable} -m stepwell db export pipe; wait")
    assert [line["kind"] for line in read.lines][-1] == "end"
    assert (shell.folder / "pipe").is_fifo()


def test_a_store_of_a_newer_schema_is_told(shell: Shell):
    filled(shell)
    newer = apsw.Connection(str(shell.folder / "runs.db"))
    newer.pragma("user_version", MIGRATIONS[-1][0] + 1)
    newer.close()
    for command in (("db", "check"), ("db", "migrate"), ("db", "prune", "--older-than", "1d", "--yes"), ("db", "export")):
        refused = shell.run(*command)
        assert (refused.code, "newer stepwell" in refused.err) == (3, True), refused.err
    doctor = shell.run("doctor")
    assert (doctor.code, "newer stepwell" in doctor.out) == (1, True)


def test_a_server_is_not_migrated_by_others(shell: Shell):
    refused = shell.run("db", "migrate", "--store", "http://127.0.0.1:1")
    assert refused.code == 2
    assert "a server brings its own store up to date" in refused.err
