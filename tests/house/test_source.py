"""Rules of the house that a syntax tree can tell."""

import ast
import re

import pytest

from tests.house.tree import SOURCE, iter_files, parsed, place, source_files

CLOCKS = re.compile(
    r"""
    time\.(time|monotonic|perf_counter|clock_gettime|gmtime|localtime|process_time|thread_time)(_ns)?
    | (datetime\.)?(datetime|date)\.(now|utcnow|today)
    """,
    re.VERBOSE,
)
ENVIRONMENT = re.compile(r"os\.(environ|environb|getenv|getenvb|putenv|unsetenv)")

SWALLOWS_EVERYTHING = {
    "authoring/step.py": "annotations are users' code; those that cannot be read say nothing",
    "authoring/workflow.py": "annotations are users' code; those that cannot be read say nothing",
    "codec.py": "users' serialisers run there",
    "engine/committer.py": "the top of a loop: tells whoever waits, logs, counts, goes on",
    "engine/loop.py": "the top of a loop: logs, counts, goes on",
    "execution/call.py": "around a user's function, and around the text of what it raised",
    "execution/executor.py": "around a workflow's body",
    "execution/steps.py": "around a step's body, and around a user's on_error",
    "execution/tasks.py": "around what users' tasks do when they are told to end",
    "server/app.py": "the top of a request: logs, and answers that something went wrong",
    "store/postgres_lease.py": "the top of a loop: logs, counts, goes on",
    "store/lanes.py": "the top of a thread: what fails is handed to the caller on the loop",
}
"""Where an exception of any kind is caught and not raised on, and why. What ends in a ``raise`` may look at anything."""

LINES_MAX = 400
LONGER = {
    "codec.py": (560, "one subject, which nobody needs in parts; its second half is the slow path that explains a refusal"),
    "engine/committer.py": (465, "the commit path of a node, told in one place"),
    "execution/executor.py": (560, "the life of a run, told in one place"),
    "store/postgres.py": (480, "the commit path on PostgreSQL, told in one place"),
    "store/batch.py": (480, "a batch, from its operations to their results, told in one place"),
    "store/base.py": (700, "the contract of a store: all its words on one page"),
}
"""Files over the limit, how long they may get, and why they are not split."""


def _places_of(pattern: re.Pattern[str]) -> set[str]:
    """Return the files that use a name of this pattern, also one taken out of its module by ``from``."""
    found: set[str] = set()
    for path in source_files():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute):
                names = [ast.unparse(node)]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            if any(pattern.fullmatch(name) for name in names):
                found.add(place(path))
    return found


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in caught)


def test_only_the_clock_asks_the_machine_for_the_time():
    assert _places_of(CLOCKS) == {"clock.py"}


def test_only_the_settings_read_the_environment():
    assert _places_of(ENVIRONMENT) == {"settings.py"}


def test_only_known_places_swallow_every_exception():
    found = {
        place(path)
        for path in source_files()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not isinstance(node.body[-1], ast.Raise)
    }
    assert found == set(SWALLOWS_EVERYTHING)


def test_no_file_is_too_long():
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in source_files()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGER.get(name, (LINES_MAX, ""))[0]} == {}
    assert {name for name in LONGER if lengths.get(name, 0) <= LINES_MAX} == set(), "short again: take it off the list"


def _statements() -> list[str]:
    return [place(path) for path in iter_files(SOURCE) if path.suffix == ".sql"]


def test_sql_is_in_files():
    assert _statements() != []


@pytest.mark.parametrize("name", _statements())
def test_a_statement_opens_with_its_purpose(name: str):
    first = (SOURCE / name).read_text(encoding="utf-8").partition("\n")[0]
    assert re.match(r"-- \S", first), first
