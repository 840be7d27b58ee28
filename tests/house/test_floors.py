"""Who may import whom. The contracts themselves stand in ``pyproject.toml``."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.house.tree import ROOT, parsed, place, source_files

# Extras that may be missing are imported where they are needed.
IMPORTS_LATE = ("cli/", "connect.py", "records/schemas.py", "__main__.py")


def test_every_file_imports_from_its_own_package_or_from_a_lower_floor():
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nothing_is_imported_inside_a_function():
    late = [
        f"{place(path)}:{inner.lineno}"
        for path in source_files()
        if not place(path).startswith(IMPORTS_LATE)
        for function in ast.walk(parsed(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(function)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert late == []


def test_no_import_is_for_the_type_checker_alone():
    named = [place(path) for path in source_files() if "TYPE_CHECKING" in path.read_text(encoding="utf-8")]
    assert named == []
