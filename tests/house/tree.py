"""The repository's files, as the tests of the house see them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "stepwell"

_MADE_HERE = {
    ".git", ".venv", ".stepwell", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".import_linter_cache", ".hypothesis",
    "__pycache__", "build", "dist", "results",
}  # fmt: skip


def iter_files(top: Path = ROOT) -> Iterator[Path]:
    """Yield every file that belongs to the repository, found without git, which a machine need not have."""
    for path in sorted(top.iterdir()):
        if path.name in _MADE_HERE:  # `.git` is a file in a second work tree
            continue
        if path.is_dir():
            yield from iter_files(path)
        elif path.is_file() and path.suffix != ".pyc":
            yield path


def source_files() -> list[Path]:
    """Return the Python files of the package."""
    return [path for path in iter_files(SOURCE) if path.suffix == ".py"]


def place(path: Path) -> str:
    """Return a file of the package as ``store/base.py``."""
    return path.relative_to(SOURCE).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
