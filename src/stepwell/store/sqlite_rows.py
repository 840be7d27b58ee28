"""Many rows in one step of SQLite, and the requests of a plan carried out on a connection.

The GIL is let go at each step of a statement and waited for after it, for up to five milliseconds while another thread computes.
A thousand rows one by one would then take seconds. So lists go in as JSON or as many rows of values in one statement, and come
out as one row that holds a JSON list.
"""

import functools
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, TypeVar

import msgspec

from stepwell.store.drafts import Draft
from stepwell.store.plans import Ask, Change, Get, Lock, Parameter, Plan, Request, Row, Table, Write, to_json
from stepwell.store.sqlite_connection import Connection
from stepwell.store.statements import statement, statement_in

T = TypeVar("T")

_CHUNKS: Final = (512, 64, 8, 1)
_STATEMENT_BYTES_MAX: Final = 16_000
"""apsw keeps no statement prepared that is longer."""


def all_rows(connection: Connection, text: str, *parameters: str | int) -> list[tuple[Any, ...]]:
    """Return all rows, for answers that are known to be short or that cannot come as JSON."""
    return connection.execute(text, parameters).fetchall()


class Question:
    """A statement that answers with one JSON list, or with NULL."""

    def __init__(self, name: str) -> None:
        self._text = statement(name)

    def ask(self, connection: Connection, kind: type[T], *parameters: Parameter) -> T:
        """Return the answer as ``kind``."""
        return msgspec.json.decode(connection.execute(self._text, parameters).get, type=kind)


class RowWriter:
    """A statement that takes many rows of values at ``{rows}``."""

    def __init__(self, template: str, width: int) -> None:
        row = f"({', '.join('?' * width)})"
        self._by_size: list[tuple[int, str]] = []
        for size in _CHUNKS:
            text = template.replace("{rows}", ", ".join([row] * size))
            if len(text) <= _STATEMENT_BYTES_MAX:
                self._by_size.append((size, text))

    def write(self, connection: Connection, rows: Sequence[Row], *more: Parameter) -> None:
        """Write all rows; ``more`` are the parameters behind them."""
        if not rows:
            return
        done = 0
        for size, text in self._by_size:
            while len(rows) - done >= size:
                connection.execute(text, (*chain.from_iterable(rows[done : done + size]), *more))
                done += size


def carry_out(plan: Plan[T], connection: Connection) -> T:
    """Carry out a plan to its end."""
    try:
        requests = next(plan)
        while True:
            requests = plan.send([_answer(request, connection) for request in requests])
    except StopIteration as end:
        result: T = end.value
        return result


def _answer(request: Request, connection: Connection) -> Any:
    match request:
        case Write(table, rows, more):
            return _writer(table).write(connection, rows, *more)
        case Ask(name, kind, parameters):
            return msgspec.json.decode(connection.execute(_text(name), parameters).get, type=kind)
        case Lock(run_ids):
            # Whoever carries out a plan holds the only write lock: nothing that is read changes until the commit.
            asked = (to_json(run_ids),)
            return msgspec.json.decode(connection.execute(_text("drafts"), asked).get, type=list[Draft])
        case Get(name, parameters):
            return connection.execute(_text(name), parameters).get
        case Change(name, parameters):
            connection.execute(_text(name), parameters)
            return connection.changes()


@functools.cache
def _text(name: str) -> str:
    return statement_in("sqlite", name)


@functools.cache
def _writer(table: Table) -> RowWriter:
    return RowWriter(_text(table.name), len(table.columns))
