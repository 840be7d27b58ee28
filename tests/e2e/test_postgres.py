"""The command line on PostgreSQL, in processes of its own."""

import signal
from pathlib import Path

import pytest

from tests.e2e.commands import Shell

APP = """
from stepwell import step, workflow

@workflow("add")
async def add(ctx, input):
    return {"sum": await step("sum", sum)(input)}
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "shop.py").write_text(APP)
    return Shell(tmp_path)


def test_a_run_goes_through_the_commands_on_postgresql_and_no_password_is_shown(shell: Shell, postgres_url: str):
    # The server of the tests trusts everybody: it asks for no password, so any will do.
    url = postgres_url.replace("postgres@", "postgres:swordfish@")
    migrated = shell.run("db", "migrate", "--store", url)
    assert (migrated.code, migrated.out) == (0, "the store is up to date\n")
    triggered = shell.run("trigger", "add", "--input", "[1, 2, 3]", "--id", "sum-up", "--store", url)
    assert triggered.code == 0
    with shell.start("worker", "shop", "--store", url) as worker:
        assert shell.run("runs", "tail", "sum-up", "--store", url).code == 0
        worker.send(signal.SIGTERM)
        assert worker.done().code == 0
    ran = shell.run("run", "shop:add", "--input", "[4, 5]", STEPWELL_URL=url)
    assert ran.json == {"sum": 9}
    checked = shell.run("db", "check", "--store", url)
    assert (checked.code, checked.out) == (0, "the store is sound\n")
    for done in (migrated, triggered, ran, checked):
        assert "swordfish" not in done.out + done.err


def test_a_store_is_moved_from_a_file_and_its_runs_go_on(shell: Shell, postgres_url: str):
    assert shell.run("trigger", "add", "--input", "[1, 2]", "--id", "moved", "--store", "sqlite:///app.db").code == 0
    told = shell.run("db", "move", "--from", "sqlite:///app.db", "--to", postgres_url)
    assert told.code == 0, told.err
    assert [line.split()[:2] for line in told.out.splitlines() if line.startswith("runs ")] == [["runs", "1"]]
    again = shell.run("db", "move", "--from", "sqlite:///app.db", "--to", postgres_url)
    assert again.code != 0
    assert "not empty" in again.err
    with shell.start("worker", "shop", "--store", postgres_url) as worker:
        assert shell.run("runs", "tail", "moved", "--store", postgres_url).code == 0
        worker.send(signal.SIGTERM)
        assert worker.done().code == 0


@pytest.mark.parametrize(
    "where", ["move.copied=kill@1", "move.copied=kill@5", "move.before_commit=kill", "move.after_commit=kill"]
)
def test_a_move_that_is_killed_has_moved_all_or_nothing_and_the_next_one_tells_which(shell: Shell, postgres_url: str, where: str):
    for number in range(3):
        assert shell.run("trigger", "add", "--input", "[1, 2]", "--id", f"r{number}", "--store", "sqlite:///app.db").code == 0
    move = ("db", "move", "--from", "sqlite:///app.db", "--to", postgres_url)
    assert shell.run(*move, STEPWELL_FAILPOINTS=where).code == -signal.SIGKILL
    again = shell.run(*move, "--json")
    if where.startswith("move.after"):
        assert again.code == 1
        assert "not empty" in again.err
        assert "moved all or nothing" in again.err
    else:
        assert again.code == 0, again.err
        assert again.json["tables"]["runs"]["rows"] == 3
    there = shell.run("db", "audit", "--store", postgres_url).lines
    assert [entry["result"] for entry in there if entry["target"].startswith("from ")] == ["done"]
    assert len(shell.run("runs", "list", "--json", "--store", postgres_url).json["items"]) == 3
    assert shell.run("db", "check", "--store", postgres_url).code == 0


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("app.db", "postgresql://x", "--from must be a file"),
        ("sqlite://app.db", "postgresql://x", "--from: url must be one of"),
        ("http://127.0.0.1:7331", "postgresql://x", "--from must be a file"),
        ("memory://", "postgresql://x", "--from must be a file"),
        ("postgresql://x", "postgresql://y", "pg_dump"),
        ("postgresql://x", "sqlite:///app.db", "nothing moves back"),
        ("sqlite:///app.db", "sqlite:///app.db", "--to must be postgresql://"),
        ("sqlite:///app.db", "http://127.0.0.1:7331", "--to must be postgresql://"),
        ("sqlite:///app.db", "postgresql://x/?channel_binding=require", "--to: url is no address"),
    ],
)
def test_a_move_from_or_to_what_it_cannot_be_is_refused_by_the_option(shell: Shell, source: str, target: str, said: str):
    refused = shell.run("db", "move", "--from", source, "--to", target)
    assert refused.code == 2
    assert said in refused.err
    assert not (shell.folder / "app.db").exists()
