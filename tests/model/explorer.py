"""Looks at every state that a model can reach, in the order of distance from the first.

Safety is told by the model, which puts a ``Broken`` in the place of a state. That nothing is stuck is told here: from every state
that was reached, a goal must be reachable over moves that are no faults.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, NamedTuple

STATES_MAX: Final = 2_000_000


class Broken(Exception):
    """A law does not hold. The text begins with the law's name and a colon."""

    @property
    def law(self) -> str:
        return str(self).partition(":")[0]


class Move(NamedTuple):
    """One step of somebody: what a trace calls it, whether it is a fault, and where it leads."""

    label: str
    is_fault: bool
    target: Any
    """The next state, or a ``Broken``."""


class Found(NamedTuple):
    """What was seen."""

    states: int
    moves: int
    is_complete: bool
    broken: dict[str, tuple[str, list[str]]]
    """By law: what was wrong, and the shortest way there."""
    stuck: tuple[list[str], Any] | None
    """The shortest way to a state from which no goal can be reached, and the state."""

    @property
    def is_clean(self) -> bool:
        return self.is_complete and not self.broken and self.stuck is None


def explore(
    first: Hashable, moves: Callable[[Any], Iterable[Move]], is_goal: Callable[[Any], bool], *, until_broken: bool = False
) -> Found:
    """Look at all states; with ``until_broken`` no further than to the first law that does not hold."""
    number: dict[Any, int] = {first: 0}
    states, parents = [first], [(-1, "")]
    backwards: list[list[int]] = [[]]
    broken: dict[str, tuple[str, list[str]]] = {}
    queue, count = deque([0]), 0
    while queue and len(states) < STATES_MAX and not (broken and until_broken):
        here = queue.popleft()
        for label, is_fault, target in moves(states[here]):
            count += 1
            if isinstance(target, Broken):
                broken.setdefault(target.law, (str(target), [*_way(parents, here), label]))
                continue
            there = number.get(target)
            if there is None:
                there = number[target] = len(states)
                states.append(target)
                parents.append((here, label))
                backwards.append([])
                queue.append(there)
            if not is_fault:
                backwards[there].append(here)
    is_complete = not queue
    stuck = _stuck(states, backwards, is_goal) if is_complete else None
    return Found(
        len(states), count, is_complete, broken, None if stuck is None else (_way(parents, stuck), states[stuck])
    )  # fmt: skip


def _stuck(states: list[Any], backwards: list[list[int]], is_goal: Callable[[Any], bool]) -> int | None:
    """Return the first state from which no goal can be reached."""
    reaches = bytearray(is_goal(state) for state in states)
    queue = deque(place for place, is_one in enumerate(reaches) if is_one)
    while queue:
        for before in backwards[queue.popleft()]:
            if not reaches[before]:
                reaches[before] = True
                queue.append(before)
    return next((place for place, is_one in enumerate(reaches) if not is_one), None)


def _way(parents: list[tuple[int, str]], place: int) -> list[str]:
    way: list[str] = []
    while place > 0:
        place, label = parents[place]
        way.append(label)
    return way[::-1]
