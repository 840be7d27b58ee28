"""SQL statements, one a file under ``sql/``, read once.

``common`` holds what every database understands, the folder of a dialect what it says in its own way. Parameters are ``$1``,
``$2``, in the order in which they first appear. ``{run}`` stands for the columns of ``RunRow``, ``{rows}`` for as many rows of
values as are to be written at once.
"""

from importlib.resources import files

from stepwell.store.base import RunRow

_FOLDER = files("stepwell.store") / "sql"


def statement(name: str) -> str:
    """Return the statement in ``sql/<name>.sql``, without the comments that it opens with."""
    text = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().replace("{run}", ", ".join(RunRow._fields))


def statement_in(dialect: str, name: str) -> str:
    """Return a statement as a dialect says it: in its own way, or in the common one."""
    has_own = (_FOLDER / dialect / f"{name}.sql").is_file()
    return statement(f"{dialect if has_own else 'common'}/{name}")
