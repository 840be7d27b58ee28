"""The words in which a run's failures are recorded and told. Pure."""

import inspect
import re
from typing import Final

import msgspec

from stepwell.errors import MaxEventsError
from stepwell.execution.call import FailureRecord, printable

_HERE: Final = __file__.rsplit("execution", 1)[0]
_FRAMES: Final = re.compile(r'File "([^"]+)", line (\d+)')
_encode: Final = msgspec.json.Encoder().encode


class _Failure(msgspec.Struct, omit_defaults=True):
    error: FailureRecord
    origins: list[str] = []


_decode: Final = msgspec.json.Decoder(_Failure).decode


def failure_payload(record: FailureRecord, origins: list[str] | None = None) -> str:
    """Return the payload of ``run_failed``: ``{"error": {...}}``, and ``origins``, the operations that the error came from."""
    return _encode(_Failure(record, origins or [])).decode()


def recorded_origins(payload: str) -> list[str]:
    """Read them back."""
    return _decode(payload).origins


def recorded_failure(payload: str) -> FailureRecord:
    """Read it back."""
    return _decode(payload).error


def max_events_error(max_events: int) -> MaxEventsError:
    """Return the error of a run whose history is full."""
    return MaxEventsError(f"the run's history has reached its limit of {max_events} events (max_events)")


def misfit_text(recorded: str, asked: str, line: str) -> str:
    """Say how code and history differ."""
    where = f" at {line}" if line else ""
    return printable(f"NonDeterminismError: the history records {recorded}; the code asked for {asked}{where}", 1_000)


def misfit_delay_ms(tries: int) -> int:
    """Return how long to wait before code that did not fit is tried again: a second, doubled each time, five minutes at most."""
    return min(1_000 << min(tries, 16), 300_000)


def traced_line(traceback: str) -> str:
    """Return ``file:line`` of the innermost place outside of stepwell that a traceback shows."""
    places = [place for place in _FRAMES.findall(traceback) if not place[0].startswith(_HERE)]
    return ":".join(places[-1]) if places else ""


def user_line() -> str:
    """Return ``file:line`` of the nearest caller outside of stepwell."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
