"""What must not be in any file: the addresses of package indexes, and paths of the machine it was written on."""

import re

from tests.house.tree import ROOT, iter_files

ADDRESS = re.compile(r"\w://\w")
INSTALLS = ("requirements.lock", "pyproject.toml", "Makefile", "scripts/", ".ci/")
"""What installers read, or what runs them."""
MACHINE_PATHS = re.compile(r"(?<![\w.*-])/(work|root|home|Users)/\w")


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT).as_posix()}:{number}"
        for path in iter_files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_nothing_that_installs_names_the_address_of_a_package_index():
    assert [line for line in _lines_with(ADDRESS) if line.startswith(INSTALLS)] == []


def test_no_file_names_a_path_of_one_machine():
    assert _lines_with(MACHINE_PATHS) == []


def test_the_lock_pins_every_package_by_hash():
    packages = (ROOT / "requirements.lock").read_text(encoding="utf-8").split("\n", 2)[2]
    entries = re.split(r"\n(?=[a-z])", packages.strip())
    assert len(entries) > 20
    assert [entry for entry in entries if not re.match(r"[\w.-]+==\S+", entry) or "--hash=sha256:" not in entry] == []
