"""What a check says: how much it looked at, and what was wrong. One that looked at nothing has tested nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.checker.records import Facts


class Verdict(NamedTuple):
    """Of one promise."""

    looked_at: int
    wrong: list[str]
    excused: int = 0
    """What would be wrong, were it not for the exception that the promise states."""


class Looked(NamedTuple):
    """A check says so for each thing that it has looked at."""


class Excused(NamedTuple):
    """A check says so for each thing that the promise makes an exception for."""


LOOKED = Looked()
EXCUSED = Excused()
Findings = Iterator[str | Looked | Excused]
Check = Callable[[Facts], Findings]


def judge(check: Check, facts: Facts) -> Verdict:
    """Run a check to its end."""
    wrong: list[str] = []
    counts: Counter[type] = Counter()
    for found in check(facts):
        if isinstance(found, str):
            wrong.append(found)
        else:
            counts[type(found)] += 1
    return Verdict(counts[Looked], wrong, counts[Excused])
