"""The README, taken at its word."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.programs import blocks, pages, run, run_until_killed
from tests.house.tree import ROOT

README = ROOT / "README.md"
LINES_MAX = 25


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (program,) = blocks(README, "python")
    (tmp_path / "shop.py").write_text(program, encoding="utf-8")
    return tmp_path


def _sessions() -> list[list[str]]:
    """Return what the README shows of each start of its program."""
    (shown,) = [text for text in blocks(README, "") if text.startswith("$ python shop.py")]
    return [session.splitlines() for session in shown.split("$ python shop.py\n")[1:]]


def test_the_example_is_short():
    (program,) = blocks(README, "python")
    assert len(program.splitlines()) <= LINES_MAX


def test_the_example_goes_on_after_kill_9_as_shown(shop: Path):
    (*before, killed), after = _sessions()
    assert killed == "Killed"
    assert run_until_killed("shop.py", folder=shop, at=before[-1]) == before
    assert run("shop.py", folder=shop) == after


def test_the_example_runs_undisturbed_and_a_second_time_it_only_tells_the_result(shop: Path):
    before, after = _sessions()
    assert run("shop.py", folder=shop) == [*before[:-1], after[-1]]
    assert run("shop.py", folder=shop) == [after[-1]]


def test_the_extras_and_targets_that_it_names_exist():
    text = README.read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(re.findall(r"stepwell\[(\w+)\]", text))
    assert extras == {"cli", "demo"}
    assert extras <= set(project["optional-dependencies"])
    assert "five small dependencies" in text
    assert len(project["dependencies"]) == 5
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= targets


_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(#[^)\s]+)?\)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    missing = [target for target, _ in _LINK.findall(text) if not (page.parent / target).exists()]
    assert missing == []
