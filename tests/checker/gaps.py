"""Promise 12, as figures: how long it takes until a run goes on elsewhere whose worker was lost.

Figures and no check: how long something takes depends on who else uses the machine.
"""

from itertools import pairwise
from typing import Final

from tests.checker.records import Effect, Facts, Trouble, by_run

_JUST_BEFORE_NS: Final = 100_000_000


def went_on_elsewhere(facts: Facts) -> list[int]:
    """Return, in order of size, how many milliseconds passed from a loss of a worker to the next body of a run that it was
    executing, in another process. Only such losses count that lasted until then.

    A run was being executed if a body of it began just before, and the same step had to be begun again.
    """
    took: list[int] = []
    for effects in by_run(facts.effects).values():
        for before, after in pairwise(effects):
            if after.pid != before.pid and after.step_id == before.step_id:
                took += [(after.at_ns - loss.at_ns) // 1_000_000 for loss in facts.troubles if _is_of(loss, before, after)]
    return sorted(took)


def _is_of(loss: Trouble, before: Effect, after: Effect) -> bool:
    is_just_after = before.at_ns <= loss.at_ns <= before.at_ns + _JUST_BEFORE_NS
    return loss.pid == before.pid and is_just_after and after.at_ns <= loss.ended_ns
