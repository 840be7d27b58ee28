"""What the execution of a batch asks of its database, as requests and not as calls.

The rules of a batch are written once, as generators: they yield lists of requests and are sent the list of the answers. They wait
for nothing, and know neither a driver nor a dialect. SQLite carries the requests out in the thread that writes, PostgreSQL on the
event loop. Requests in one list do not depend on each other's answers, so a database at the end of a wire gets them at once.

A statement is known by its name: the dialect has a file for it, or else ``common`` does. Lists go in as JSON, answers come out as
JSON.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import msgspec

T = TypeVar("T")

Parameter: TypeAlias = str | int | None
Row: TypeAlias = Sequence[Parameter]

_encode = msgspec.json.Encoder().encode


class Ask(NamedTuple):
    """A question. Its statement answers with one JSON list; the answer is that list as ``kind``."""

    name: str
    kind: Any
    parameters: tuple[Parameter, ...] = ()


class Get(NamedTuple):
    """A question for one plain value. None if there is no row."""

    name: str
    parameters: tuple[Parameter, ...] = ()


class Change(NamedTuple):
    """A statement that changes rows. The answer is how many."""

    name: str
    parameters: tuple[Parameter, ...] = ()


class Table(NamedTuple):
    """A statement that writes many rows, and the columns of each."""

    name: str
    columns: tuple[str, ...]
    is_counted: bool = False
    """Whether it may pass rows over, so that it is told how many were written. Its rows may be longer than others."""


class Write(NamedTuple):
    """Rows to be written, no two with one key. ``more`` are parameters besides. The answer is None, or how many rows were written
    where they are counted; of those that come together only the first may be.
    """

    table: Table
    rows: Sequence[Row]
    more: tuple[Parameter, ...] = ()


class Lock(NamedTuple):
    """Runs to be read, and to be left alone by everybody else until the commit. The answer is a list of ``Draft``.

    ``ending`` are runs that may end in this batch. A database on which others write at the same time reads those who wait for
    them as well, because rows are locked in the order of their keys, and so all at once.
    """

    run_ids: Sequence[str]
    ending: Sequence[str] = ()


Request: TypeAlias = Ask | Get | Change | Write | Lock
Plan: TypeAlias = Generator[Sequence[Request], list[Any], T]


def ask(name: str, kind: type[T], *parameters: Parameter) -> Plan[T]:
    """Ask one question."""
    answers = yield [Ask(name, kind, parameters)]
    return cast("T", answers[0])


def change(name: str, *parameters: Parameter) -> Plan[int]:
    """Change rows; return how many."""
    answers = yield [Change(name, parameters)]
    return cast("int", answers[0])


class Together:
    """Questions to be asked at once, and what to do with each answer."""

    def __init__(self) -> None:
        self._asked: list[tuple[Ask, Callable[[Any], None]]] = []

    def ask(self, name: str, kind: type[T], keep: Callable[[T], None], *parameters: Parameter) -> None:
        """Add a question."""
        self._asked.append((Ask(name, kind, parameters), keep))

    def answers(self) -> Plan[None]:
        """Ask all of them, if there are any."""
        if self._asked:
            answers = yield [question for question, _ in self._asked]
            for (_, keep), answer in zip(self._asked, answers, strict=True):
                keep(answer)


def to_json(value: object) -> str:
    """Return JSON text for a statement that takes a list."""
    return _encode(value).decode()
