"""The command line, in processes of its own: what it prints, how it exits, and what it survives."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from stepwell import Client
from tests.e2e.commands import PATIENCE_S, Shell

APP = """
import asyncio, os, time
from pathlib import Path
from stepwell import step, workflow

def note(text):
    with open("bodies.txt", "a") as file:
        file.write(f"{text}\\n")

@workflow("greet")
async def greet(ctx, input):
    name = await step("fetch", lambda: input["name"])()
    return f"hello {name}"

@workflow("add")
async def add(ctx, input):
    return {"sum": await step("sum", sum)(input)}

@workflow("refuse")
async def refuse(ctx):
    def broken():
        raise ValueError("no \\x1b[31mred\\x07 beans")
    await step("break", broken)()

@workflow("approval")
async def approval(ctx):
    await step("ask", note)("ask")
    return {"approved": await ctx.wait_for_signal("approve")}

@workflow("count")
async def count(ctx, input):
    async def one(n):
        note(n)
        await asyncio.sleep(0.02)
        return n
    return sum([await step("one", one)(n) for n in range(input)])

@workflow("long")
async def long(ctx):
    async def until_let_go():
        note("begun")
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        return "done"
    await step("first", until_let_go)()
    await ctx.wait_for_signal("never")

@workflow("stubborn")
async def stubborn(ctx):
    def forever():
        note("begun")
        time.sleep(3600)
    await step("forever", forever)()
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "shop.py").write_text(APP)
    return Shell(tmp_path)


def bodies(shell: Shell) -> list[str]:
    file = shell.folder / "bodies.txt"
    return file.read_text().splitlines() if file.exists() else []


def until_bodies(shell: Shell, count: int) -> None:
    """Wait for what another process does; nothing tells us."""
    end = time.monotonic() + PATIENCE_S
    while len(bodies(shell)) < count:
        assert time.monotonic() < end, f"only {bodies(shell)}"
        time.sleep(0.005)


# -- run


def test_run_prints_the_output_alone_on_standard_output(shell: Shell):
    done = shell.run("run", "shop:greet", "--input", '{"name": "Ada"}')
    assert (done.code, done.out) == (0, "hello Ada\n")
    assert "step_completed" in done.err


@pytest.mark.parametrize("target", ["shop.py:greet", "./shop.py:greet", "shop:greet"])
def test_run_takes_a_file_or_a_dotted_name(shell: Shell, target: str):
    assert shell.run("run", target, "--input", '{"name": "Ada"}').code == 0


def test_run_takes_the_name_of_a_workflow_that_is_no_variable(shell: Shell):
    (shell.folder / "named.py").write_text(
        "from stepwell import workflow\n@workflow('say-hi')\nasync def hi(ctx):\n    return 'hi'\n"
    )
    assert shell.run("run", "named.py:say-hi").out == "hi\n"
    assert shell.run("run", "named.py").out == "hi\n"


def test_run_finds_the_package_around_a_file(shell: Shell):
    package = shell.folder / "lib" / "pack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "names.py").write_text("NAME = 'packed'\n")
    (package / "flow.py").write_text(
        "from pack.names import NAME\nfrom stepwell import workflow\n@workflow('w')\nasync def w(ctx):\n    return NAME\n"
    )
    assert shell.run("run", "lib/pack/flow.py:w").out == "packed\n"


def test_run_prints_one_json_document_with_the_run(shell: Shell):
    done = shell.run("run", "shop:add", "--input", "[1, 2, 39]", "--id", "sum-1", "--tag", "a", "--tag", "b", "--json")
    assert done.code == 0
    assert done.json["runId"] == "sum-1"
    assert done.json["status"] == "completed"
    assert done.json["input"] == [1, 2, 39]
    assert done.json["output"] == {"sum": 42}
    assert done.json["tags"] == ["a", "b"]
    assert "$stepwell" not in done.json


def test_run_fails_with_the_run_and_shows_no_control_characters(shell: Shell):
    done = shell.run("run", "shop:refuse")
    assert done.code == 1
    assert done.out == ""
    assert "ValueError" in done.err
    assert "break" in done.err
    assert "\x1b" not in done.err
    assert "\x07" not in done.err


def test_run_with_json_prints_a_failed_run_and_exits_with_1(shell: Shell):
    done = shell.run("run", "shop:refuse", "--json")
    assert done.code == 1
    assert done.json["status"] == "failed"
    assert done.json["errorDetails"]["step"] == "break"


def test_an_integer_of_a_thousand_digits_survives_the_command_line(shell: Shell):
    digits = "9" * 999
    done = shell.run("run", "shop:add", "--input", f"[{digits}]", "--json")
    assert done.json["output"]["sum"] == int(digits)


def test_input_comes_from_a_file_or_from_standard_input(shell: Shell):
    (shell.folder / "in.json").write_text('{"name": "file"}')
    assert shell.run("run", "shop:greet", "--input", "@in.json").out == "hello file\n"
    assert shell.run("run", "shop:greet", "--input", "-", stdin='{"name": "pipe"}').out == "hello pipe\n"


def test_the_commands_that_it_suggests_run_as_printed_though_the_shell_does_not_find_it_by_name(shell: Shell):
    with shell.start("run", "shop:approval", "--id", "a-0", PATH=os.defpath) as running:
        running.until("waits for signal approve")
        running.send(signal.SIGINT)
        done = running.done()
    cancel = next(line.partition("cancel:")[2] for line in done.err.splitlines() if "cancel:" in line)
    assert shell.paste(cancel).code == 0
    assert shell.run("runs", "show", "a-0", "--json").json["status"] == "cancelled"


def test_ctrl_c_detaches_and_the_run_goes_on_with_a_worker(shell: Shell):
    with shell.start("run", "shop:approval", "--id", "a-1") as running:
        running.until("waits for signal approve")
        running.send(signal.SIGINT)
        done = running.done()
    assert done.code == 130
    assert "not cancelled" in done.err
    assert "stepwell worker shop" in done.err
    assert "Traceback" not in done.err
    assert shell.run("runs", "show", "a-1", "--json").json["status"] == "running"
    assert shell.run("signal", "a-1", "approve", "--payload", '{"by": "Ada"}').code == 0
    with shell.start("worker", "shop") as worker:
        worker.until("ready")
        tail = shell.run("runs", "tail", "a-1", "--json")
    assert tail.code == 0
    assert [event["seq"] for event in tail.lines] == list(range(1, len(tail.lines) + 1))
    assert tail.lines[-1]["eventType"] == "run_completed"
    assert shell.run("runs", "show", "a-1", "--json").json["output"] == {"approved": {"by": "Ada"}}
    assert bodies(shell) == ["ask"]


def test_run_again_with_the_same_id_and_input_goes_on(shell: Shell):
    first = shell.run("run", "shop:greet", "--input", '{"name": "Ada"}', "--id", "g")
    again = shell.run("run", "shop:greet", "--input", '{"name": "Ada"}', "--id", "g")
    assert (first.out, again.out, again.code) == ("hello Ada\n", "hello Ada\n", 0)
    other = shell.run("run", "shop:greet", "--input", '{"name": "Bob"}', "--id", "g")
    assert other.code == 1
    assert "Traceback" not in other.err


# -- trigger, signal, worker


def test_trigger_prints_the_id_and_a_worker_executes_it(shell: Shell):
    run_id = shell.run("trigger", "greet", "--input", '{"name": "Ada"}').out.strip()
    assert shell.run("runs", "show", run_id, "--json").json["status"] == "pending"
    assert "worker" in shell.run("runs", "why", run_id).out
    with shell.start("worker", "shop:greet") as worker:
        worker.until("ready")
        assert shell.run("runs", "tail", run_id).code == 0


def test_trigger_waits_for_the_outcome_and_takes_its_exit_code(shell: Shell):
    with shell.start("worker", "shop") as worker:
        worker.until("ready")
        good = shell.run("trigger", "greet", "--input", '{"name": "Ada"}', "--wait", "--priority", "3", "--delay", "10ms")
        bad = shell.run("trigger", "refuse", "--wait", "--json")
    assert (good.code, good.out) == (0, "hello Ada\n")
    assert (bad.code, bad.json["status"]) == (1, "failed")


def test_a_run_is_of_the_version_that_is_named(shell: Shell):
    made = shell.run("trigger", "greet", "--version", "2", "--json").json
    assert (made["version"], shell.run("runs", "show", made["runId"], "--json").json["version"]) == ("2", "2")


def test_a_key_gives_one_run(shell: Shell):
    first = shell.run("trigger", "greet", "--input", '{"name": "Ada"}', "--key", "k", "--json").json
    again = shell.run("trigger", "greet", "--input", '{"name": "Ada"}', "--key", "k", "--json").json
    assert (first["created"], again["created"]) == (True, False)
    assert first["runId"] == again["runId"]
    assert shell.run("trigger", "greet", "--input", "{}", "--key", "k").code == 1


def test_two_signals_with_one_id_are_one(shell: Shell):
    run_id = shell.run("trigger", "approval").out.strip()
    sent = shell.run("signal", run_id, "approve", "--payload", "1", "--id", "s", "--json")
    assert sent.json == {"runId": run_id, "name": "approve", "payload": 1}
    assert shell.run("signal", run_id, "approve", "--payload", "1", "--id", "s").code == 0
    with shell.start("worker", "shop") as worker:
        worker.until("ready")
        types = [event["eventType"] for event in shell.run("runs", "tail", run_id, "--json").lines]
    assert types.count("signal_received") == 1


def test_a_worker_killed_with_sigkill_loses_nothing_and_repeats_only_what_was_under_way(shell: Shell):
    run_id = shell.run("trigger", "count", "--input", "40").out.strip()
    for target in (5, 15, 25):
        with shell.start("worker", "shop") as worker:
            until_bodies(shell, target)
            worker.send(signal.SIGKILL)
            assert worker.done().code == -signal.SIGKILL
    with shell.start("worker", "shop"):
        assert shell.run("runs", "tail", run_id).code == 0
    events = shell.run("runs", "events", run_id, "--json").json["items"]
    assert [event["payload"]["result"] for event in events if event["eventType"] == "step_completed"] == list(range(40))
    ran = bodies(shell)
    assert sorted(set(ran), key=int) == [str(n) for n in range(40)]
    assert len(ran) <= 43
    assert shell.run("db", "check").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_asked_to_stop_drains(shell: Shell, number: signal.Signals):
    run_id = shell.run("trigger", "long").out.strip()
    with shell.start("worker", "shop", "--json") as worker:
        until_bodies(shell, 1)
        worker.send(number)
        (shell.folder / "go").touch()
        done = worker.done()
    assert done.code == 0
    assert [line["event"] for line in done.lines] == ["ready", "draining", "stopped"]
    run = shell.run("runs", "show", run_id, "--json").json
    assert (run["status"], run["interruptions"]) == ("running", 0)
    events = shell.run("runs", "events", run_id, "--json").json["items"]
    assert [event["payload"]["result"] for event in events if event["eventType"] == "step_completed"] == ["done"]


def test_a_step_that_does_not_end_does_not_keep_a_worker_from_stopping(shell: Shell):
    shell.run("trigger", "stubborn")
    with shell.start("worker", "shop", "--drain-timeout", "100ms") as worker:
        until_bodies(shell, 1)
        worker.send(signal.SIGTERM)
        assert worker.done().code == 0


def test_a_second_signal_does_not_wait_for_the_drain(shell: Shell):
    shell.run("trigger", "stubborn")
    with shell.start("worker", "shop", "--drain-timeout", "1h") as worker:
        until_bodies(shell, 1)
        worker.send(signal.SIGINT)
        worker.until("draining")
        worker.send(signal.SIGINT)
        assert worker.done().code == 130


# -- runs, db


def test_runs_are_listed_newest_first_page_by_page(shell: Shell):
    for n in range(3):
        shell.run("trigger", "greet", "--input", '{"name": "x"}', "--id", f"r{n}", "--tag", "t")
    first = shell.run("runs", "list", "--limit", "2", "--json").json
    assert [run["runId"] for run in first["items"]] == ["r2", "r1"]
    rest = shell.run("runs", "list", "--limit", "2", "--cursor", first["nextCursor"], "--json").json
    assert [run["runId"] for run in rest["items"]] == ["r0"]
    assert rest["nextCursor"] is None
    assert shell.run("runs", "list", "--workflow", "other", "--json").json["items"] == []
    assert len(shell.run("runs", "list", "--status", "pending", "--tag", "t", "--json").json["items"]) == 3
    assert shell.run("runs", "list", "--tag", "u", "--json").json["items"] == []


def test_tables_in_a_pipe_have_no_colour_and_are_not_cut_off(shell: Shell):
    shell.run("trigger", "greet", "--id", "x" * 200)
    done = shell.run("runs", "list")
    assert done.out.splitlines()[0].split()[:3] == ["RUN", "WORKFLOW", "STATUS"]
    assert "x" * 200 in done.out
    assert "\x1b" not in done.out


@pytest.mark.parametrize(("env", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_shows_colour_unless_it_is_not_wanted(shell: Shell, env: dict[str, str], is_coloured: bool):
    shell.run("run", "shop:greet", "--input", '{"name": "Ada"}')
    shown = shell.run_at_terminal("runs", "list", **env)
    assert "completed" in shown
    assert ("\x1b[32m" in shown) == is_coloured


def test_a_run_and_its_history_are_shown(shell: Shell):
    shell.run("run", "shop:greet", "--input", '{"name": "Ada"}', "--id", "g")
    shown = shell.run("runs", "show", "g").out
    assert "completed" in shown
    assert "hello Ada" in shown
    events = shell.run("runs", "events", "g").out
    assert [line.split()[3] for line in events.splitlines()[1:]] == [
        "run_created", "run_started", "step_completed", "run_completed",
    ]  # fmt: skip
    part = shell.run("runs", "events", "g", "--after", "2", "--limit", "1", "--json").json["items"]
    assert [(event["seq"], event["eventType"], event["stepId"]) for event in part] == [(3, "step_completed", "fetch")]


def test_a_run_is_cancelled_by_its_id(shell: Shell):
    run_id = shell.run("trigger", "approval").out.strip()
    cancelled = shell.run("runs", "cancel", run_id, "--reason", "not needed", "--json").json
    assert (cancelled["status"], cancelled["cancelReason"]) == ("cancelled", "not needed")
    assert shell.run("runs", "tail", run_id).code == 1
    over = shell.run("runs", "cancel", run_id)
    assert over.code == 0


def test_a_filter_cancels_what_it_names_and_says_how_many_first(shell: Shell):
    for n in range(3):
        shell.run("trigger", "approval", "--id", f"a{n}")
    shell.run("trigger", "greet", "--id", "g")
    refused = shell.run("runs", "cancel", "--workflow", "approval")
    assert refused.code == 2
    assert "3 runs" in refused.err
    done = shell.run("runs", "cancel", "--workflow", "approval", "--yes", "--json")
    assert done.json == {"matched": 3, "cancelled": 3, "skipped": []}
    assert "3 runs" in done.err
    statuses = {run["runId"]: run["status"] for run in shell.run("runs", "list", "--json").json["items"]}
    assert statuses == {"a0": "cancelled", "a1": "cancelled", "a2": "cancelled", "g": "pending"}


def test_a_sound_store_is_said_to_be_sound(shell: Shell):
    shell.run("run", "shop:greet", "--input", '{"name": "Ada"}')
    assert shell.run("db", "check").code == 0
    assert shell.run("db", "check", "--json").json == {"ok": True, "problems": []}


def test_a_command_that_nobody_reads_ends_quietly(shell: Shell):
    shell.run("run", "shop:count", "--input", "20", "--id", "c")
    done = shell.run_unread("runs", "events", "c", "--json")
    assert (done.code, done.err) == (130, "")


# -- mistakes


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["run", "shop:greet", "--input", "{name: Ada}"], 2, "--input"),
        (["run", "shop:greet", "--input", '{"a": 1, "a": 2}'], 2, "--input"),
        (["run", "shop:greet", "--input", "NaN"], 2, "--input"),
        (["run", "shop:greet", "--input", "[" * 200 + "]" * 200], 2, "--input"),
        (["run", "shop:greet", "--input", "@missing.json"], 2, "missing.json"),
        (["run", "shop:greet", "--id", "no spaces"], 2, "--id"),
        (["run", "shop:nothing"], 2, "greet"),
        (["run", "shop"], 2, "shop:"),
        (["run", "nowhere:greet"], 2, "nowhere"),
        (["run", "nowhere.py:greet"], 2, "nowhere.py"),
        (["run", "sh op:greet"], 2, "sh op"),
        (["run", "time.py:greet"], 2, "hidden"),
        (["run", "bare.py"], 2, "no workflow"),
        (["run"], 2, "TARGET"),
        (["trigger", "greet", "--input", ""], 2, "--input"),
        (["trigger", "greet", "--delay", "soon"], 2, "--delay"),
        (["trigger", "greet", "--delay", "-1s"], 2, "--delay"),
        (["trigger", "greet", "--priority", "high"], 2, "--priority"),
        (["trigger", ""], 2, "workflow"),
        (["trigger", "a\x01b"], 2, "workflow"),
        (["trigger", "greet", "--tag", ""], 2, "--tag"),
        (["signal", "no-run", "go", "--payload", "{"], 2, "--payload"),
        (["signal", "no-run", "go"], 4, "no-run"),
        (["runs", "show", "no-run"], 4, "no-run"),
        (["runs", "events", "no-run"], 4, "no-run"),
        (["runs", "tail", "no-run"], 4, "no-run"),
        (["runs", "why", "no-run"], 4, "no-run"),
        (["runs", "cancel", "no-run"], 4, "no-run"),
        (["runs", "cancel"], 2, "--workflow"),
        (["runs", "cancel", "x", "--tag", "y"], 2, "not both"),
        (["runs", "cancel", "--status", "failed"], 2, "--status"),
        (["runs", "list", "--status", "sleeping"], 2, "--status"),
        (["runs", "list", "--limit", "0"], 2, "--limit"),
        (["runs", "list", "--limit", "many"], 2, "--limit"),
        (["runs", "list", "--cursor", "garbage"], 2, "--cursor"),
        (["runs", "list", "--store", "ftp://x"], 2, "--store"),
        (["runs", "list", "--store", "sqlite:///shop.py"], 3, "shop.py"),
        (["runs", "list", "--nonsense"], 2, "--nonsense"),
        (["worker"], 2, "module"),
        (["worker", "shop:nothing"], 2, "nothing"),
        (["worker", "shop", "--concurrency", "0"], 2, "--concurrency"),
        (["worker", "shop", "--drain-timeout", "long"], 2, "--drain-timeout"),
        (["nonsense"], 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_clear_line_and_an_exit_code(shell: Shell, args: list[str], code: int, told: str):
    (shell.folder / "time.py").write_text("")
    (shell.folder / "bare.py").write_text("")
    with Client(f"sqlite:///{shell.folder}/runs.db"):
        pass
    done = shell.run(*args)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert done.err.startswith("stepwell: ")


def test_a_payload_over_the_limit_is_refused(shell: Shell):
    done = shell.run("trigger", "greet", "--input", "-", stdin=json.dumps("x" * 1024 * 1024))
    assert done.code == 2
    assert "--input" in done.err


def test_a_file_that_is_no_database_is_left_alone(shell: Shell):
    before = (shell.folder / "shop.py").read_bytes()
    assert shell.run("db", "check", "--store", "sqlite:///shop.py").code == 3
    assert (shell.folder / "shop.py").read_bytes() == before


def test_a_module_that_fails_to_import_shows_its_own_traceback(shell: Shell):
    (shell.folder / "broken.py").write_text("import helper\n")
    (shell.folder / "helper.py").write_text("x = 1 / 0\n")
    done = shell.run("worker", "broken.py")
    assert done.code == 2
    assert "cannot import 'broken.py'" in done.err
    assert 'helper.py", line 1' in done.err
    assert "ZeroDivisionError: division by zero" in done.err
    assert "stepwell/cli" not in done.err
    assert "importlib" not in done.err


def test_a_module_that_misses_another_says_which(shell: Shell):
    (shell.folder / "broken.py").write_text("import not_there_at_all\n")
    done = shell.run("run", "broken.py:x")
    assert done.code == 2
    assert "not_there_at_all" in done.err
    assert 'broken.py", line 1' in done.err


def test_looking_at_a_store_that_is_not_there_does_not_make_one(shell: Shell):
    done = shell.run("runs", "list", "--store", "sqlite:///typo.db")
    assert done.code == 3
    assert "typo.db" in done.err
    assert not (shell.folder / "typo.db").exists()


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["runs", "--help"], ["runs", "cancel", "--help"], ["--version"]])
def test_help_is_printed_on_standard_output(shell: Shell, args: list[str]):
    done = shell.run(*args)
    assert done.code == 0
    assert done.out
    assert not list(shell.folder.glob("*.db"))


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_the_help_tells_what_each_command_does(shell: Shell, args: list[str]):
    told = shell.run(*args).out
    for command, says in (("trigger", "Start a run"), ("records", "The records of collections"), ("db", "Look after the store")):
        assert re.search(rf"\b{command} +{says}", told)


def test_runs_are_paused_resumed_and_retried_by_id_and_by_filter(shell: Shell):
    for number in range(2):
        shell.run("trigger", "approval", "--id", f"p{number}", "--tag", "steered")
    assert shell.run("runs", "pause", "p0", "--json").json["status"] == "paused"
    refused = shell.run("runs", "pause", "--tag", "steered")
    assert refused.code == 2
    assert "1 run" in refused.err
    assert shell.run("runs", "pause", "--tag", "steered", "--yes", "--json").json == {"matched": 1, "paused": 1, "skipped": []}
    resumed = shell.run("runs", "resume", "--workflow", "approval", "--yes", "--json").json
    assert resumed == {"matched": 2, "resumed": 2, "skipped": []}
    assert shell.run("runs", "resume", "p0").code == 1
    assert "not failed" in shell.run("runs", "retry", "p0").err
    assert shell.run("runs", "retry", "--status", "failed").code == 2


def test_a_hook_that_does_not_exist_is_not_answered(shell: Shell):
    shell.run("trigger", "approval", "--id", "h0")
    answered = shell.run("hook", "swh.x.y.1.z.w", "--payload", "true")
    assert (answered.code, "no such hook" in answered.err) == (4, True)
