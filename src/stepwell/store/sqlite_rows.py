"""Many rows in one step of SQLite.

The GIL is let go at each step of a statement and waited for after it, for up to five milliseconds while another thread computes.
A thousand rows one by one would then take seconds. So lists go in as JSON or as many rows of values in one statement, and come
out as one row that holds a JSON list.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, TypeVar

import msgspec

from stepwell.store.sqlite_connection import Connection
from stepwell.store.statements import statement

T = TypeVar("T")

_CHUNKS: Final = (512, 64, 8, 1)
_STATEMENT_BYTES_MAX: Final = 16_000
"""apsw keeps no statement prepared that is longer."""

_encode = msgspec.json.Encoder().encode


def to_json(value: object) -> str:
    """Return JSON text for a statement that takes a list."""
    return _encode(value).decode()


def all_rows(connection: Connection, text: str, *parameters: str | int) -> list[tuple[Any, ...]]:
    """Return all rows, for answers that are known to be short or that cannot come as JSON."""
    return connection.execute(text, parameters).fetchall()


class Question:
    """A statement that answers with one JSON list, or with NULL."""

    def __init__(self, name: str) -> None:
        self._text = statement(name)

    def ask(self, connection: Connection, kind: type[T], *parameters: str | int | None) -> T:
        """Return the answer as ``kind``."""
        return msgspec.json.decode(connection.execute(self._text, parameters).get, type=kind)


class RowWriter:
    """A statement that takes many rows of values at ``{rows}``."""

    def __init__(self, name: str, width: int) -> None:
        template = statement(name)
        row = f"({', '.join('?' * width)})"
        self._by_size: list[tuple[int, str]] = []
        for size in _CHUNKS:
            text = template.replace("{rows}", ", ".join([row] * size))
            if len(text) <= _STATEMENT_BYTES_MAX:
                self._by_size.append((size, text))

    def write(self, connection: Connection, rows: Sequence[Sequence[str | int | None]], *more: str | int | None) -> None:
        """Write all rows; ``more`` are the parameters behind them."""
        if not rows:
            return
        done = 0
        for size, text in self._by_size:
            while len(rows) - done >= size:
                connection.execute(text, (*chain.from_iterable(rows[done : done + size]), *more))
                done += size
