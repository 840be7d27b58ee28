"""``stepwell db export``: all that is kept of runs, as lines of JSON."""

import json
import os
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from stepwell.cli.control import ALL, Filter
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common, StatusName, Tags
from stepwell.cli.output import print_json, say, wire
from stepwell.cli.stores import noted, opened_store
from stepwell.engine.keeping import Signal, Unreadable
from stepwell.engine.present import rfc3339
from stepwell.model import Event, Run

FORMAT: Final = 1
_KINDS: Final = {Run: "run", Event: "event", Signal: "signal", Unreadable: "unreadable"}
_TOLD_EACH: Final = 10_000


async def export(
    file: str = "-", *, run: Tags = (), status: StatusName | None = None, only: Filter = ALL, common: Common = DEFAULT
) -> Exit:
    """Write runs with their histories and signals as lines of JSON, as they were at one moment. Changes nothing.

    The format is described in docs/cli.md. Exit code 1 if something of a run could not be read.

    Parameters
    ----------
    file
        Where to; - for standard output. A file has its name only once it is complete.
    run
        Only this run. Several times for several.
    status
        Filter: runs with this status.
    """
    if run and not (only.is_empty and status is None):
        raise UsageError("name runs with --run, or a filter, and not both")
    counts: Counter[str] = Counter()
    what = " ".join(run) if run else json.dumps(msgspec.to_builtins(only.asked(status)), default=str)
    async with opened_store(common) as engine, noted(engine, "exportRuns", what) as outcome:
        with _opened(file) as target:
            begin = {"kind": "export", "format": FORMAT, "stepwell": version("stepwell"), "at": rfc3339(engine.now_ms())}
            _write(target, begin)
            async for each in engine.export(only.asked(status), run):
                kind = _KINDS[type(each)]
                counts[kind] += 1
                _write(target, {"kind": kind, kind: _shown(each)})
                if counts["event"] and counts["event"] % _TOLD_EACH == 0 and kind == "event":
                    say(f"{counts['run']:,} runs, {counts['event']:,} events")
            total = {f"{kind}s" if kind != "unreadable" else kind: counts[kind] for kind in _KINDS.values()}
            _write(target, {"kind": "end", **total})
        outcome.text = f"{counts['run']} runs"
    say(f"{counts['run']:,} runs, {counts['event']:,} events, {counts['signal']:,} signals")
    if counts["unreadable"]:
        say(f"of {counts['unreadable']:,} runs something could not be read: the lines of kind `unreadable` say what", "yellow")
    if common.json and file != "-":
        print_json({"file": file, **total})
    return Exit.FAILED if counts["unreadable"] else Exit.OK


def _shown(each: Run[Any] | Event | Signal | Unreadable) -> dict[str, Any]:
    shown = wire(each)
    shown.pop("created", None)
    return shown


def _write(target: IO[str], line: dict[str, Any]) -> None:
    target.write(json.dumps(line, ensure_ascii=False, default=wire) + "\n")


@contextmanager
def _opened(file: str) -> Generator[IO[str]]:
    """Open what is written to. Payloads may be secret: a file is for this user alone."""
    if file == "-":
        with _told("standard output"), open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as target:
            yield target
        return
    path = Path(file)
    if path.exists() and not path.is_file() and not path.is_dir():
        # A pipe or a device: it must not be replaced by a file.
        with _told(repr(file)), path.open("w", encoding="utf-8", newline="") as target:
            yield target
        return
    if path.is_dir():
        raise UsageError(f"{file!r} cannot be written: it is a folder")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{file!r} cannot be written: {error.strerror}") from None
    try:
        with _told(repr(file)), open(descriptor, "w", encoding="utf-8", newline="") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        with _told(repr(file)):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _told(name: str) -> Generator[None]:
    """Tell of what cannot be written. Whoever has stopped reading a pipe knows that himself."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"{name} cannot be written: {error.strerror}") from None
