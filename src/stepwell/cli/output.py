"""What commands print: JSON for programs, tables and colour for people.

Results go to standard output; progress, questions and errors to standard error, so that a pipe carries results alone.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepwell.durations import format_ms
from stepwell.model import TAG, Run

_PIPE_WIDTH: Final = 1_000
"""Into a pipe nothing is cut off or wrapped."""
_BRIEF_LENGTH_MAX: Final = 100
_STYLES: Final = {"completed": "green", "failed": "red", "cancelled": "yellow", "paused": "magenta", "running": "cyan"}
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in {9, 10}}


@cache
def console() -> Console:
    """Return the console for results."""
    return _console(stderr=False)


@cache
def notes() -> Console:
    """Return the console for progress, questions and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if is_terminal else _PIPE_WIDTH, highlight=False, markup=False, emoji=False)


def say(text: str, style: str = "") -> None:
    """Tell a person something."""
    notes().print(Text(plain(text), style=style), soft_wrap=True)


def wire(value: msgspec.Struct) -> dict[str, Any]:
    """Return a model as programs see it: camelCase names, RFC 3339 times, without the key that marks its type."""
    shown: dict[str, Any] = msgspec.to_builtins(value)
    shown.pop(TAG, None)
    return shown


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document."""
    # The standard encoder: integers beyond 64 bits are legal in users' values. Our own types are, too.
    print(json.dumps(value, indent=indent, ensure_ascii=not _speaks_unicode(), default=wire), flush=True)  # noqa: T201


def print_line(value: Any) -> None:
    """Print one line of a stream of JSON documents."""
    print_json(value, indent=None)


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def print_value(value: Any) -> None:
    """Print a user's value for a person: text as it is, all else as JSON."""
    if isinstance(value, str):
        console().print(Text(plain(value)), soft_wrap=True)
    else:
        print_json(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = ()) -> None:
    """Print a table. ``right`` names the columns of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    _print_table(table)


def print_fields(fields: Iterable[tuple[str, str | Text]]) -> None:
    """Print names and values below each other."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(Text(name), value if isinstance(value, Text) else Text(plain(value)))
    _print_table(table)


def _print_table(table: Table) -> None:
    if console().is_terminal:
        console().print(table)
        return
    with console().capture() as captured:
        console().print(table)
    for line in captured.get().splitlines():
        console().print(line.rstrip(), soft_wrap=True)


def status_text(run: Run[Any]) -> Text:
    """Return a run's status in its colour."""
    return Text(run.status, style=_STYLES.get(run.status, ""))


def plain(text: str) -> str:
    """Return text that a terminal shows and does not obey."""
    return text.translate(_CONTROLS)


def brief(value: Any) -> str:
    """Return a value as one short line of JSON; "" for None."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, default=wire)
    return text if len(text) <= _BRIEF_LENGTH_MAX else f"{text[: _BRIEF_LENGTH_MAX - 1]}…"


def first_line(text: str) -> str:
    """Return the first line of a text, shortened."""
    line = text.partition("\n")[0]
    return line if len(line) <= _BRIEF_LENGTH_MAX else f"{line[: _BRIEF_LENGTH_MAX - 1]}…"


def when(time: datetime | None) -> str:
    """Return a point in time, in UTC, to the second."""
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S}Z"


def ago(time: datetime, now_ms: int) -> str:
    """Return how long ago something was, in its largest two units."""
    return f"{roughly(max(0, now_ms - int(time.timestamp() * 1000)))} ago"


def roughly(span_ms: int) -> str:
    """Return a span in its largest unit or two: ``"1d3h"``, ``"2m5s"``, ``"12s"``, ``"250ms"``."""
    for unit_ms, below_ms in ((86_400_000, 3_600_000), (3_600_000, 60_000), (60_000, 1_000), (1_000, 1_000)):
        if span_ms >= unit_ms:
            return format_ms(span_ms // below_ms * below_ms)
    return format_ms(span_ms)


def waiting_text(run: Run[Any]) -> str:
    """Say what a run waits for, in a few words; "" if for nothing."""
    waiting = run.waiting_for
    if waiting is None or run.is_over:
        return ""
    text = "sleeps" if waiting.kind == "sleep" else f"waits for {waiting.kind} {waiting.name}"
    if waiting.until is not None:
        text += f" until {when(waiting.until)}"
    return f"{text} and {waiting.others} more" if waiting.others else text
