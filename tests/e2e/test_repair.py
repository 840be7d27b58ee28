"""Forks, repairs, and what would become of runs with other code: the command line, in processes of its own."""

import json
import shutil
from pathlib import Path

import pytest

from stepwell import Client
from tests.e2e.commands import Shell

BEFORE = """
import os
from stepwell import step, workflow

def note(text):
    with open("bodies.txt", "a") as file:
        file.write(f"{text}\\n")
    return text

@workflow("order")
async def order(ctx, input):
    a = await step("fetch", note)(input)
    await step("charge", note)(a)
    approved = await ctx.wait_for_signal("approve")
    return [a, approved, await step("ship", note)(a)]

@workflow("asks")
async def asks(ctx):
    hook = await ctx.create_hook("budget", "approve", {"amount": 5})
    return await ctx.wait_for_hook(hook.token)

@workflow("fails")
async def fails(ctx, input):
    def broken():
        if not os.path.exists("repaired"):
            raise ValueError("broken")
        return input
    return await step("break", broken)()
"""
RENAMED = BEFORE.replace('step("charge", note)(a)', 'step("pay", note)(a)')
CHANGED = BEFORE.replace('step("charge", note)(a)', 'step("charge", note)({"amount": a})')
ADDED = BEFORE.replace("return [a,", 'await step("thank", note)(a)\n    return [a,')
MARKED = BEFORE.replace('a = await step("fetch"', 'await ctx.set_state("begun")\n    a = await step("fetch"')


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs that wait for a signal, and two that have failed."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(BEFORE)
    shell = Shell(folder)
    for name, given, run_id in (("order", '"tea"', "o1"), ("order", '"cake"', "o2"), ("fails", "1", "f1"), ("fails", "2", "f2")):
        assert shell.run("trigger", name, "--input", given, "--id", run_id, "--tag", "t").code == 0
    with shell.start("worker", "shop.py") as worker:
        worker.until("ready")
        for run_id in ("f1", "f2"):
            assert shell.run("runs", "tail", run_id).code == 1
        while "waits for signal" not in shell.run("runs", "show", "o1").out + shell.run("runs", "show", "o2").out:
            pass
    return folder


@pytest.fixture
def shell(shop: Path, tmp_path: Path) -> Shell:
    """The same folder as nobody has touched it."""
    return Shell(Path(shutil.copytree(shop, tmp_path / "shop")))


def bodies(shell: Shell) -> list[str]:
    return (shell.folder / "bodies.txt").read_text().splitlines()


def test_code_that_has_not_changed_fits_all_runs_in_flight(shell: Shell):
    before = bodies(shell)
    checked = shell.run("check", "shop.py")
    assert (checked.code, checked.out) == (0, "")
    assert "2 runs replayed" in checked.err
    assert shell.run("check", "shop.py", "--json").json == {"ok": True, "runs": 2, "unfit": 0, "findings": []}
    assert bodies(shell) == before


def test_what_breaks_is_told_with_both_sides_and_the_line(shell: Shell):
    (shell.folder / "shop.py").write_text(CHANGED)
    checked = shell.run("check", "shop.py:order", "--json")
    assert checked.code == 1
    (finding,) = checked.json["findings"]
    assert (finding["verdict"], finding["workflowName"], finding["count"]) == ("breaks", "order", 2)
    assert sorted(finding["runIds"]) == ["o1", "o2"]
    assert finding["recorded"].startswith("step 'charge' with other arguments (event ")
    assert finding["asked"].startswith("step 'charge' with the fingerprint ")
    line = 1 + CHANGED.splitlines().index('    await step("charge", note)({"amount": a})')
    assert finding["line"].endswith(f"shop.py:{line}")
    shown = shell.run("check", "shop.py").out
    assert "breaks" in shown
    assert f"shop.py:{line}" in shown
    assert "2: " in shown


def test_a_renamed_step_breaks_an_added_one_is_no_change_and_a_mark_is_harmless(shell: Shell):
    for code, verdicts, exit_code in ((RENAMED, {"breaks", "decide"}, 1), (ADDED, set(), 0), (MARKED, {"harmless"}, 0)):
        (shell.folder / "shop.py").write_text(code)
        checked = shell.run("check", "shop.py", "--in-flight", "--json")
        assert {finding["verdict"] for finding in checked.json["findings"]} == verdicts
        assert checked.code == exit_code


def test_one_run_is_checked_also_when_it_is_over(shell: Shell):
    assert shell.run("check", "shop.py", "--run", "f1").code == 0
    (shell.folder / "shop.py").write_text(BEFORE.replace('raise ValueError("broken")', "pass").replace('"break"', '"mend"'))
    checked = shell.run("check", "shop.py", "--run", "f1", "--json")
    assert checked.code == 1
    assert checked.json["runs"] == 1
    assert shell.run("check", "shop.py", "--run", "o1", "--json").json["ok"]


@pytest.mark.parametrize(
    ("args", "code", "named"),
    [
        (["check", "nothing.py"], 2, "nothing.py"),
        (["check", "shop.py", "--run", "none"], 4, "none"),
        (["check", "shop.py:asks", "--run", "o1"], 2, "'order'"),
        (["check", "shop.py", "--run", "o1", "--in-flight"], 2, "--in-flight"),
        (["check", "shop.py", "--store", "sqlite:///none.db"], 3, "none.db"),
        (["check"], 2, "MODULE"),
        (["runs", "fork", "none"], 4, "none"),
        (["runs", "fork", "o1", "--from-event", "99"], 2, "--from-event"),
        (["runs", "fork", "o1", "--from-event", "x"], 2, "from-event"),
        (["runs", "fork", "o1", "--input", "{"], 2, "--input"),
        (["runs", "fork", "o1", "--id", "o2"], 1, "taken"),
        (["runs", "set-step-result", "o1", "ship", "--reason", "r"], 2, "--value"),
        (["runs", "set-step-result", "o1", "ship", "--value", "1"], 2, "--reason"),
        (["runs", "set-step-result", "o1", "ship", "--value", "1", "--reason", "r"], 1, "not paused"),
        (["runs", "hooks", "none"], 4, "none"),
        (["runs", "cancel", "o1", "--workflow", "order"], 2, "not both"),
        (["runs", "retry", "--created-after", "yesterday"], 2, "created-after"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_the_option_is_named(shell: Shell, args: list[str], code: int, named: str):
    # promise 14
    done = shell.run(*args)
    assert (done.code, done.out) == (code, "")
    assert named in done.err
    assert "Traceback" not in done.err


def test_a_run_is_forked_with_another_input(shell: Shell):
    events = shell.run("runs", "events", "o1", "--json").json["items"]
    fetched = next(event["seq"] for event in events if event["stepId"] == "fetch")
    forked = shell.run("runs", "fork", "o1", "--from-event", str(fetched), "--input", '"rum"', "--id", "o1-again")
    assert (forked.code, forked.out) == (0, "o1-again\n")
    assert shell.run("runs", "show", "o1-again", "--json").json["input"] == "rum"
    before = len(bodies(shell))
    with shell.start("worker", "shop.py") as worker:
        worker.until("ready")
        assert shell.run("signal", "o1-again", "approve", "--payload", "true").code == 0
        assert shell.run("runs", "tail", "o1-again").code == 0
    assert bodies(shell)[before:] == ["tea", "tea"]
    assert shell.run("runs", "show", "o1-again", "--json").json["output"] == ["tea", True, "tea"]


def test_what_failed_is_retried_by_filter_and_who_had_moved_on_is_told(shell: Shell):
    (shell.folder / "repaired").touch()
    refused = shell.run("runs", "retry", "--tag", "t")
    assert refused.code == 2
    assert "this would retry 2 runs" in refused.err
    assert shell.run("runs", "retry", "f1").code == 0
    done = shell.run("runs", "retry", "--workflow", "fails", "--created-after", "2020-01-01", "--yes", "--json")
    assert done.json == {"matched": 1, "retried": 1, "skipped": []}
    nobody = shell.run("runs", "retry", "--workflow", "fails", "--created-before", "2020-01-01T00:00:00Z", "--yes", "--json")
    assert nobody.json == {"matched": 0, "retried": 0, "skipped": []}
    with shell.start("worker", "shop.py") as worker:
        worker.until("ready")
        assert [shell.run("runs", "tail", run_id).code for run_id in ("f1", "f2")] == [0, 0]


def test_a_bulk_retry_leaves_alone_what_cannot_go_on_and_says_why(shell: Shell):
    with Client(f"sqlite:///{shell.folder / 'runs.db'}") as client:
        client.workflow.trigger("asks", run_id="mother")
        client.workflow.trigger("fails", 3, run_id="kid", parent_run_id="mother")
        (shell.folder / "shop.py").write_text(BEFORE)
    with shell.start("worker", "shop.py:fails") as worker:
        worker.until("ready")
        assert shell.run("runs", "tail", "kid").code == 1
    shell.run("runs", "cancel", "mother")
    done = shell.run("runs", "retry", "--workflow", "fails", "--yes", "--json").json
    assert (done["matched"], done["retried"]) == (3, 2)
    (skipped,) = done["skipped"]
    assert skipped["runId"] == "kid"
    assert "its parent 'mother' is over" in skipped["reason"]


def test_a_step_is_repaired_by_hand(shell: Shell):
    assert shell.run("runs", "retry", "f1").code == 0
    assert shell.run("runs", "pause", "f1").code == 0
    repaired = shell.run(
        "runs", "set-step-result", "f1", "break", "--value", '{"by": "hand"}', "--reason", "the supplier said so"
    )
    assert (repaired.code, "break" in repaired.out) == (0, True)
    assert shell.run("runs", "resume", "f1").code == 0
    with shell.start("worker", "shop.py") as worker:
        worker.until("ready")
        assert shell.run("runs", "tail", "f1").code == 0
    shown = shell.run("runs", "show", "f1", "--json").json
    assert shown["output"] == {"by": "hand"}
    assert "the supplier said so" in shell.run("runs", "events", "f1", "--json").out


def test_hooks_are_listed_and_their_tokens_only_if_asked_for(shell: Shell):
    with shell.start("worker", "shop.py") as worker:
        worker.until("ready")
        run_id = shell.run("trigger", "asks").out.strip()
        while not (items := shell.run("runs", "hooks", run_id, "--tokens", "--json").json["items"]):
            pass
        token = items[0]["token"]
        listed = shell.run("runs", "hooks", run_id)
        assert "budget" in listed.out
        assert token not in listed.out + shell.run("runs", "hooks", run_id, "--json").out
        assert token in shell.run("runs", "hooks", run_id, "--tokens").out
        assert shell.run("hook", token, "--payload", json.dumps({"ok": True})).code == 0
        assert shell.run("runs", "tail", run_id).code == 0
    assert shell.run("runs", "hooks", run_id, "--json").json["items"][0]["answer"] == {"ok": True}
