"""What an owner does next with a run that it holds: its workflow, replayed against the history."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.model.rules import Rules
from tests.model.words import CANCELLED, COMPLETED, FAILED, Held


class Program(NamedTuple):
    """A workflow. Its steps are ``"do a"``, ``"undoable a"``, ``"failing a"`` (until the run is retried), ``"signal"``,
    ``"hook"``, ``"start child"``, ``"await child"``.
    """

    steps: tuple[str, ...]
    has_deadline: bool = False

    def undoable(self) -> set[str]:
        return {name for kind, _, name in (step.partition(" ") for step in self.steps) if kind == "undoable"}


class Next(NamedTuple):
    """What is to be recorded, and the body that begins before."""

    label: str
    events: tuple[str, ...] = ()
    then: str = ""
    body: str = ""
    transcribed: bool = False


def is_signal(word: str) -> bool:
    return word[0] in "mb" and word[1:].isdigit()


def transcribed(word: str) -> tuple[str, ...]:
    """Return how a message stands in the history."""
    if is_signal(word):
        return (f"signal {word}",)
    if word in ("yes", "no"):
        return (f"answered {word}",)
    if word in ("cancel", "fail"):
        return (f"{word} asked",)
    return (word,) if word.startswith("child") else ()


def since_retry(history: Sequence[str]) -> Sequence[str]:
    """Return what counts of failures: those before a retry are void."""
    for place in range(len(history) - 1, -1, -1):
        if history[place] == "retried":
            return history[place + 1 :]
    return history


def end_in_sight(history: Sequence[str]) -> str:
    """Return how the run will end when its compensations have run; nothing while it goes on."""
    if "cancel asked" in history:
        return CANCELLED
    return FAILED if any(_fails(event) for event in since_retry(history)) else ""


def _fails(event: str) -> bool:
    return event.endswith(" failed") or event == "fail asked" or event.startswith(("child failed", "child cancelled"))


def outstanding(program: Program, history: Sequence[str], own_from: int) -> list[str]:
    """Return the steps that this run has completed and whose compensation is not recorded, in the order of their completion."""
    undoable = program.undoable()
    return [event for event in history[own_from:] if event in undoable and f"undone {event}" not in history]


def next_of(program: Program, held: Held, rules: Rules, *, is_late: bool, is_hook_late: bool) -> Next:
    """Return the next thing to do; the clock says whether the deadlines of the run and of its hook have passed."""
    history = held.history
    if held.consumed < len(held.mailbox) and (rules.transcribes_in_order or _is_waited_for(program, held)):
        return _transcribe(held.mailbox[held.consumed], rules)
    end = end_in_sight(history)
    if end:
        return _unwind(outstanding(program, history, held.own_from), end, rules)
    if is_late:
        return Next("deadline passes", ("fail asked",))
    return _go_on(program, history, is_hook_late=is_hook_late)


def _is_waited_for(program: Program, held: Held) -> bool:
    """For the rule left out: take only what the workflow waits for."""
    first = held.mailbox[held.consumed]
    return first[0] == "m" and _go_on(program, held.history, is_hook_late=False).then == "suspend"


def _transcribe(word: str, rules: Rules) -> Next:
    if word.startswith("pause"):
        return Next("drain", then="release", transcribed=True)
    if word == "cancel" and not rules.cancel_is_recorded:
        return Next("hears of cancel", transcribed=True)
    return Next(f"transcribe {word}", transcribed(word), transcribed=True)


def _unwind(left: list[str], end: str, rules: Rules) -> Next:
    if not left:
        return Next(end, (end,))
    undone = f"undone {left[-1 if rules.last_first else 0]}"
    return Next(f"body {undone}", (undone,) if len(left) > 1 else (undone, end), body=undone)


def _go_on(program: Program, history: tuple[str, ...], *, is_hook_late: bool) -> Next:
    signals = sum(event.startswith("signal") for event in history)
    for place, step in enumerate(program.steps):
        kind, _, name = step.partition(" ")
        # Completing a step and completing the run share a commit.
        end = (COMPLETED,) if place == len(program.steps) - 1 else ()
        if kind == "signal":
            signals -= 1
            if signals < 0:
                return Next("suspend", then="suspend")
        elif kind == "hook":
            todo = _ask_and_wait(history, is_late=is_hook_late)
            if todo is not None:
                return todo
        elif step == "start child":
            if "child started" not in history:
                return Next("start child", ("child started",))
        elif step == "await child":
            todo = _await_child(history)
            if todo is not None:
                return todo
        elif name not in history:
            fails = kind == "failing" and "retried" not in history
            return Next(f"body {name}", (f"{name} failed",) if fails else (name, *end), body=name)
    return Next(COMPLETED, (COMPLETED,))


def _ask_and_wait(history: tuple[str, ...], *, is_late: bool) -> Next | None:
    if "hook asked" not in history:
        return Next("ask", ("hook asked",))
    if "hook expired" in history or any(event.startswith("answered") for event in history):
        return None
    return Next("time out", ("hook expired",), then="time out") if is_late else Next("suspend", then="suspend")


def _await_child(history: tuple[str, ...]) -> Next | None:
    if any(event.startswith("child completed") for event in history):
        return None
    if "child awaited" not in since_retry(history):
        return Next("await child", ("child awaited",))
    return Next("suspend", then="suspend")
