"""``stepwell records``: the records of collections, in and out."""

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from cyclopts import App, Parameter

from stepwell import codec
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common, Flag
from stepwell.cli.output import print_json, say
from stepwell.errors import StepwellError, ValidationError

File: TypeAlias = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""A file, or - for standard input or output."""

Format: TypeAlias = Annotated[Literal["jsonl", "csv"], Parameter(show_choices=True)]
"""One record a line as JSON, or a table."""

_AT_ONCE: Final = 500
_TOLD_EACH: Final = 10_000
_CELL_LENGTH_MAX: Final = 16 * 1024 * 1024

records = App(name="records", help="The records of collections, in and out.")


@records.command(name="import")
async def import_(
    collection: str, file: File, *, format: Format | None = None, create: Flag = False, common: Common = DEFAULT
) -> Exit:  # fmt: skip
    """Read records from a file into a collection. Those whose id is there already are updated.

    What was read before something went wrong stays; reading the same file again harms nothing, where records have ids.

    Parameters
    ----------
    collection
        The collection; it is made if there is none.
    file
        One JSON object a line, or a table whose first line names the fields; - for standard input. In a table a cell that is JSON
        (5, true, [1]) is that, an empty one is no field, and all else is text.
    format
        jsonl or csv; otherwise as the file's name ends.
    create
        Refuse records whose id is there already.
    """
    chosen = _format(file, format)
    count = 0
    with ExitStack() as stack:
        source = stack.enter_context(_opened(file, "r"))
        items = _decoded(_objects(source) if chosen == "jsonl" else _rows(source))
        async with common.client() as client:
            target = client.collection(collection)
            while chunk := list(islice(items, _AT_ONCE)):
                try:
                    await (target.create_many(chunk) if create else target.upsert_many(chunk))
                except StepwellError as error:
                    error.args = (f"records {count + 1:,} to {count + len(chunk):,}: {error}",)
                    raise
                before, count = count, count + len(chunk)
                if count // _TOLD_EACH > before // _TOLD_EACH:
                    say(f"{count:,} records")
    say(f"{count:,} records are in {collection!r}")
    if common.json:
        print_json({"collection": collection, "records": count})
    return Exit.OK


@records.command
async def export(
    collection: str, file: File = "-", *, format: Format | None = None, filter: str | None = None, sort: str | None = None,
    fields: str | None = None, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Write the records of a collection to a file, however many.

    Parameters
    ----------
    collection
        The collection.
    file
        Where to; - for standard output.
    format
        jsonl or csv; otherwise as the file's name ends. The columns of a table are the fields that are named, or all that any
        record has; then the records are read twice.
    filter
        Only those that it fits.
    sort
        In this order: -created,name.
    fields
        Only these fields.
    """
    chosen = _format(file, format)
    count = 0
    with ExitStack() as stack:
        async with common.client_of_existing() as client:
            source = client.collection(collection)
            columns = [] if fields is None else [name.strip().partition(".")[0] for name in fields.split(",")]
            if chosen == "csv" and not columns:
                seen: dict[str, None] = {}
                async for record in source.iter_list(filter=filter):
                    seen |= dict.fromkeys(record)
                columns = list(seen)
            target = stack.enter_context(_opened(file, "w"))
            write = _line_writer(target) if chosen == "jsonl" else _table_writer(target, columns)
            async for record in source.iter_list(filter=filter, sort=sort, fields=fields):
                write(record)
                count += 1
                if count % _TOLD_EACH == 0:
                    say(f"{count:,} records")
    say(f"{count:,} records of {collection!r}")
    return Exit.OK


def _format(file: str, format: str | None) -> str:
    if format is not None:
        return format
    return "csv" if file.lower().endswith(".csv") else "jsonl"


def _decoded(items: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from items
    except UnicodeDecodeError as error:
        raise ValidationError(f"the file is not UTF-8: {error.reason} at byte {error.start:,}", field="file") from None


def _opened(file: str, mode: Literal["r", "w"]) -> IO[str]:
    encoding = "utf-8-sig" if mode == "r" else "utf-8"  # tables of some programs begin with a byte order mark
    if file == "-":
        # Closed like any other: nothing is read or written after it.
        return open((sys.stdin if mode == "r" else sys.stdout).fileno(), mode, encoding=encoding, newline="", closefd=False)
    try:
        return Path(file).open(mode, encoding=encoding, newline="")
    except OSError as error:
        raise UsageError(f"{file!r} cannot be opened: {error.strerror}") from None


def _objects(source: IO[str]) -> Iterator[Any]:
    for number, line in enumerate(source, 1):
        if line.strip():
            yield codec.parse(line.strip(), field=f"line {number}")


def _rows(source: IO[str]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(_CELL_LENGTH_MAX)
    reader = csv.reader(source, strict=True)
    names: list[str] = []
    try:
        for row in reader:
            if not names:
                names = row
                again = sorted({name for name in names if names.count(name) > 1})
                if again:
                    raise ValidationError(f"line 1 names two columns {again[0]!r}", field="file")
            elif len(row) > len(names):
                text = f"line {reader.line_num} has {len(row)} cells, and line 1 names {len(names)} columns"
                raise ValidationError(text, field="file")
            elif row:
                yield {name: _value(cell) for name, cell in zip(names, row, strict=False) if name and cell}
    except csv.Error as error:
        raise ValidationError(f"line {reader.line_num} is no row of a table: {error}", field="file") from None


def _value(cell: str) -> Any:
    try:
        return msgspec.json.decode(cell)
    except msgspec.DecodeError:
        return cell


def _line_writer(target: IO[str]) -> Any:
    def write(record: dict[str, Any]) -> None:
        target.write(codec.encode(record, field="record", limit_bytes=sys.maxsize) + "\n")

    return write


def _table_writer(target: IO[str], columns: Iterable[str]) -> Any:
    writer = csv.DictWriter(target, list(dict.fromkeys(columns)), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()

    def write(record: dict[str, Any]) -> None:
        writer.writerow({name: _cell(value) for name, value in record.items()})

    return write


def _cell(value: Any) -> str:
    """Return the text that is read as this value again."""
    if isinstance(value, str) and value and _value(value) == value:
        return value
    return codec.encode(value, field="record", limit_bytes=sys.maxsize)
