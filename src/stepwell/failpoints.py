"""Named places where a test may make the process die, sleep or fail; and counters of rare branches.

A failpoint does nothing unless ``STEPWELL_FAILPOINTS`` names it (``commit.before_write=kill@3;claim=sleep:500``: at the third
passage SIGKILL; at each passage half a second), or a test has put a function into ``armed``. The names are those in the code;
``grep 'failpoint('`` lists them.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

from stepwell.settings import failpoints_from_environment

armed: dict[str, Callable[[], None]] = {}
"""What happens at which failpoint. Tests put functions here and take them out again."""

counters: Counter[str] = Counter()
"""How often each rare branch was taken in this process. A chaos run in which one stayed at zero has not tested it."""


def failpoint(name: str) -> None:
    """Mark a place where things may go wrong."""
    if armed and name in armed:
        armed[name]()


def _parse(text: str) -> None:
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, _, rule = entry.partition("=")
        action, _, nth = rule.partition("@")
        armed[name] = _action(name, action, int(nth or 0))


def _action(name: str, action: str, nth: int) -> Callable[[], None]:
    passed = 0

    def act() -> None:
        nonlocal passed
        passed += 1
        if nth and passed != nth:
            return
        verb, _, argument = action.partition(":")
        if verb == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif verb == "sleep":
            time.sleep(int(argument) / 1000)
        elif verb == "raise":
            raise OSError(f"failpoint {name}")
        else:
            raise ValueError(f"STEPWELL_FAILPOINTS: unknown action {action!r}")

    return act


_parse(failpoints_from_environment())
