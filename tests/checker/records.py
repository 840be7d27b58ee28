"""What was seen: calls of clients, effects of bodies, what was done to processes, and the histories that the store ends with.

Plain records. Who writes them is killed at any moment: calls are two lines each, one before and one after, so that a call without
an end is one of which nobody knows the outcome. ``_ns`` is boot time, which all processes of a machine share and nobody sets.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from stepwell.model import Event, Run

Outcome = Literal["ok", "error", "unknown"]
FOREVER_NS: Final = 2**62


def boot_ns() -> int:
    """Return the time since the machine started."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def is_compensation(step_id: str) -> bool:
    """Tell the identity of a compensation from that of a step."""
    return step_id.rpartition("/")[2].startswith("compensate:")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a client."""

    pid: int
    number: int
    op: str
    """The method of ``client.workflow``."""
    run_id: str | None
    """Which run it is about, as far as the caller knew."""
    sent: dict[str, Any] = {}
    """Its other arguments, by name."""
    began_ns: int
    ended_ns: int = FOREVER_NS
    outcome: Outcome = "unknown"
    code: str = ""
    """Of its error."""
    told: Any = None
    """What it returned, in short: see ``recorder.py``."""

    @property
    def is_ok(self) -> bool:
        """Whether it was acknowledged."""
        return self.outcome == "ok"

    @property
    def target(self) -> str | None:
        """The run that it was about, as the answer tells."""
        return self.told["run_id"] if isinstance(self.told, dict) and "run_id" in self.told else self.run_id

    def __str__(self) -> str:
        return f"{self.op} {self.sent} by {self.pid}/{self.number} at {self.began_ns // 1_000_000} ms: {self.outcome} {self.code}"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The second line of a call."""

    number: int
    ended_ns: int
    outcome: Outcome
    code: str = ""
    told: Any = None


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a step began."""

    run_id: str
    step_id: str
    attempt: int
    nonce: str
    """Drawn for this beginning; what the body returns, if it returns."""
    rests_on: tuple[str, ...] = ()
    """The results of other steps that it was given."""
    pid: int
    at_ns: int
    wall_ms: int
    undoes: bool = False
    """Whether it is a compensation."""

    def __str__(self) -> str:
        return f"{self.step_id} of {self.run_id}, attempt {self.attempt}, in {self.pid} at {self.at_ns // 1_000_000} ms"


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a process: ``killed``, or until ``ended_ns`` ``frozen`` or ``cut_off`` from its store."""

    what: Literal["killed", "frozen", "cut_off"]
    pid: int
    """0: to all of them."""
    at_ns: int
    ended_ns: int = FOREVER_NS


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the store has it at the end, with input and output, and its events."""

    run: Run[Any]
    events: list[Event]


class Facts(msgspec.Struct, kw_only=True):
    """All that was seen."""

    calls: list[Call] = []
    effects: list[Effect] = []
    """In the order in which they were written, over all processes."""
    histories: dict[str, History] = {}
    troubles: list[Trouble] = []
    wrong_in_store: list[str] = []
    """What ``stepwell db check`` says."""
    counters: Counter[str] = msgspec.field(default_factory=Counter)
    """Rare branches that processes took."""

    def cut_off(self, pid: int) -> list[Trouble]:
        """Return when a process was cut off from its store."""
        return [trouble for trouble in self.troubles if trouble.pid in (pid, 0) and trouble.what == "cut_off"]

    def frozen(self, pid: int) -> list[Trouble]:
        """Return when a process was frozen."""
        return [trouble for trouble in self.troubles if trouble.pid == pid and trouble.what == "frozen"]


def read_calls(files: Iterable[Path]) -> list[Call]:
    """Join the two lines of each call."""
    return [call for file in files for call in _joined(file.read_bytes())]


def _joined(text: bytes) -> Iterator[Call]:
    begun: dict[int, Call] = {}
    for line in _whole_lines(text):
        if b'"op"' in line.partition(b'"sent"')[0]:
            call = msgspec.json.decode(line, type=Call)
            begun[call.number] = call
        else:
            ended = msgspec.json.decode(line, type=Ended)
            call = begun.pop(ended.number)
            yield msgspec.structs.replace(
                call, ended_ns=ended.ended_ns, outcome=ended.outcome, code=ended.code, told=ended.told
            )  # fmt: skip
    yield from begun.values()


def read_effects(file: Path) -> list[Effect]:
    """Return the journal of bodies."""
    return [msgspec.json.decode(line, type=Effect) for line in _whole_lines(file.read_bytes())]


def _whole_lines(text: bytes) -> list[bytes]:
    return [line for line in text.split(b"\n") if line]


def by_run(effects: Iterable[Effect]) -> Mapping[str, list[Effect]]:
    """Return effects by run, each in order."""
    found: dict[str, list[Effect]] = {}
    for effect in effects:
        found.setdefault(effect.run_id, []).append(effect)
    return found
