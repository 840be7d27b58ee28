"""Which due runs a node takes: woken ones first, then new ones, in turn from each workflow. Only indexes are read."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from stepwell.store.base import Claim, Claimed, RunRow
from stepwell.store.plans import Plan, Together, ask, to_json


class Due(NamedTuple):
    """A due run: where it stands among those of its workflow, and how often in a row its worker was lost."""

    order: int
    run_id: str
    streak: int


def find_due(claim: Claim) -> Plan[tuple[list[str], bool]]:
    """Return the ids of the runs to take, and whether more could have been taken but for the limit."""
    known = to_json(list(claim.workflows))

    def woken(share: int) -> Plan[list[list[Due]]]:
        return ask("due_woken", list[list[Due]], claim.at_ms, share, known)

    def new(share: int) -> Plan[list[list[Due]]]:
        queues: list[list[Due]] = [[] for _ in claim.workflows]
        levels = yield from ask("due_new", list[tuple[int, list[Due]]], known, claim.at_ms, share)
        for place, level in levels:
            # Of each level the first are known: so are the first of all of them.
            queues[place] = list(heapq.merge(queues[place], level))[:share]
        return queues

    selection = _Selection(claim)
    yield from selection.fill(woken)
    if not selection.more:
        yield from selection.fill(new)
    return selection.ids, selection.more


def claimed(claim: Claim, taken: Sequence[str], *, more: bool, passes_over: bool) -> Plan[Claimed]:
    """Return what became of a claim once its rows are written."""
    together, rows, passed_over = Together(), list[RunRow](), list[bool]()
    if taken:
        together.ask("find_rows", list[RunRow], rows.extend, to_json(taken))
    if passes_over and not more:
        known = to_json(list(claim.workflows))
        together.ask("passed_over", bool, passed_over.append, known, claim.at_ms, claim.alone_from)
    yield from together.answers()
    return Claimed(rows, more, any(passed_over))


class _Selection:
    def __init__(self, claim: Claim) -> None:
        self.ids: list[str] = []
        self.more = False
        self._claim = claim
        self._alone = 0

    def fill(self, read: Callable[[int], Plan[list[list[Due]]]]) -> Plan[None]:
        """Pick from queues of which ``read`` returns the first so many of each, reading further until there is enough."""
        share = 2 + (self._claim.limit - len(self.ids)) // max(1, len(self._claim.workflows))
        while True:
            queues = yield from read(share)
            ids, alone, more = self._pick(queues)
            if more or all(len(queue) < share for queue in queues):
                self.ids += ids
                self._alone = alone
                self.more = more
                return
            share *= 4

    def _pick(self, queues: Sequence[Sequence[Due]]) -> tuple[list[str], int, bool]:
        ids: list[str] = []
        alone = self._alone
        for due in _in_turn(queues):
            if due.streak >= self._claim.alone_from:
                if alone >= self._claim.alone_max:
                    continue
                alone += 1
            if len(self.ids) + len(ids) == self._claim.limit:
                return ids, alone, True
            ids.append(due.run_id)
        return ids, alone, False


def _in_turn(queues: Sequence[Sequence[Due]]) -> Iterator[Due]:
    for place in range(max(map(len, queues), default=0)):
        for queue in queues:
            if place < len(queue):
                yield queue[place]
