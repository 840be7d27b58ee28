"""What every command takes, and how values are read from the command line."""

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from cyclopts import Parameter

from stepwell import AsyncClient, codec
from stepwell.cli.exits import UsageError
from stepwell.connect import find_file, without_password
from stepwell.errors import UnavailableError
from stepwell.model import Status

Json: TypeAlias = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
"""An option that takes JSON, ``@file``, or ``-`` for standard input."""

Flag: TypeAlias = Annotated[bool, Parameter(negative=())]
"""An option that is there or not."""

Tags: TypeAlias = Annotated[tuple[str, ...], Parameter(negative=())]
"""An option that can be given several times."""

StatusName: TypeAlias = Annotated[Status, Parameter(show_choices=True)]
"""One of the statuses of a run."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """The options of every command."""

    store: Annotated[str | None, Parameter(name=("--store", "--url"))] = None
    """Where the runs are: sqlite:///file.db, or another URL. Otherwise STEPWELL_URL, or .stepwell/stepwell.db here."""
    json: Flag = False
    """Print JSON, for programs."""

    def client(self) -> AsyncClient:
        """Return a client on the store that was named; a file is made if there is none."""
        return AsyncClient(self.store)

    def client_of_existing(self) -> AsyncClient:
        """Return a client on the store that was named.

        Raises:
            UnavailableError: There is no such file. None is made: to look for a run in an empty one helps nobody.
        """
        file = find_file(self.store)
        if file is not None and not file.exists():
            raise UnavailableError(f"there is no store {str(file)!r}: name another with --store or STEPWELL_URL")
        return self.client()


DEFAULT = Common()


def suggested(command: str, store: str | None) -> str:
    """Return a command as it can be pasted here: this program by its name where the shell finds it, else by its path.

    A password in the URL of the store is left out.
    """
    store = store and without_password(store)
    called = Path(sys.argv[0])
    if shutil.which("stepwell") is not None:
        program = "stepwell"
    elif called.name == "__main__.py":
        program = f"{shlex.quote(sys.executable)} -m stepwell"
    else:
        program = shlex.quote(str(called))
    return f"{program} {command}{f' --store {shlex.quote(store)}' if store else ''}"


def read_json(text: str | None, option: str) -> Any:
    """Return the value of an option that holds JSON, ``@file``, or ``-`` for standard input. None if it was not given.

    Raises:
        UsageError: The file cannot be read.
        ValidationError: It is not JSON. The text names the option.
        PayloadTooLargeError: It is too long.
    """
    if text is None:
        return None
    if text == "-":
        return codec.parse(sys.stdin.buffer.read(), field=option)
    if not text.startswith("@"):
        return codec.parse(text, field=option)
    try:
        return codec.parse(Path(text[1:]).read_bytes(), field=option)
    except OSError as error:
        raise UsageError(f"{option}: cannot read {text[1:]!r}: {error.strerror}") from None
