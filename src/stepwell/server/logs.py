"""What the server logs: one line an event, for people or as JSON, without keys, tokens and passwords.

The library logs by the standard ``logging`` and imposes nothing; here, where a process is ours, structlog writes it down.
"""

import logging
import re
import sys
from typing import Any, Final, TextIO

import msgspec
import structlog

from stepwell.durations import from_ms

ACCESS: Final = "stepwell.access"
_HIDDEN: Final = "[redacted]"
_SECRETS: Final = (
    (re.compile(r"swk_([a-z0-9]{8})_[A-Za-z0-9_-]+"), rf"swk_\1_{_HIDDEN}"),
    (re.compile(r"swt_([a-z0-9]*)_[A-Za-z0-9_-]+"), rf"swt_\1_{_HIDDEN}"),
    (re.compile(r"swh\.[A-Za-z0-9_.%-]+"), f"swh.{_HIDDEN}"),
    (re.compile(r"(hooks/)[^\s\"'?&/\[]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)(authorization['\"]?\s*[:=,]\s*['\"]?)(?:(?:bearer|basic)\s+)?[^\s'\",)]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)(bearer\s+)[^\s'\",)\[]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/]+(@)"), rf"\1{_HIDDEN}\2"),
    (re.compile(r"(?i)(password['\"]?\s*[:=]\s*['\"]?)[^\s'\"&]+"), rf"\1{_HIDDEN}"),
)
_SUSPICIOUS: Final = ("swk_", "swt_", "swh.", "hooks/", "authorization", "bearer", "://", "password")
"""Where none of this occurs, nothing is to be hidden: most lines cost no more than this one look."""
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(10), *range(11, 32), *range(127, 160))}


def redacted(text: str) -> str:
    """Return a text without what is secret in it, and without what a terminal would obey."""
    lowered = text.lower()
    if any(word in lowered for word in _SUSPICIOUS):
        for pattern, instead in _SECRETS:
            text = pattern.sub(instead, text)
    return text if text.isprintable() else text.translate(_CONTROLS)


def configure(form: str, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Have all that is logged in this process written to a stream, standard error if none is given.

    Args:
        form: ``human``, ``json``, or ``auto``: human at a terminal, JSON elsewhere.
        stream: Where to.
        level: From which level on.
    """
    out = sys.stderr if stream is None else stream
    is_human = form == "human" or (form == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(Formatter(is_human))
    # What no line shows is not looked up either: there is a line for each request.
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("uvicorn", "watchfiles"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class Formatter(structlog.stdlib.ProcessorFormatter):
    """Makes a line of a record; what is secret is taken out of the whole line, tracebacks included."""

    def __init__(self, is_human: bool) -> None:
        shared: list[Any] = [
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ]
        last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
        if is_human:
            last.append(structlog.dev.ConsoleRenderer(colors=False, sort_keys=False))
        else:
            last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        self._is_human = is_human
        super().__init__(foreign_pre_chain=shared, processors=last)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        if record.name == ACCESS and not self._is_human:
            return redacted(_access_line(record))
        return redacted(super().format(record))


def _access_line(record: logging.LogRecord) -> str:
    """Return the line of a request as structlog would write it. There is one for each request: this way costs a third."""
    told = {name: getattr(record, name) for name in ("status", "ms", "request_id", "key_id", "address")}
    at = from_ms(int(record.created * 1000)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"event": record.getMessage(), "level": "info", "logger": record.name, **told, "timestamp": at}
    return msgspec.json.encode(line).decode()
