"""Which step's body holds a thread, seen from another thread."""

import sys
from types import FrameType
from typing import Final, NamedTuple

from stepwell.execution.steps import run_step

_CODE: Final = run_step.__code__


class OnStack(NamedTuple):
    """What a thread does: the step whose body is on its stack ("" for none), and the line that it is at."""

    run_id: str
    step: str
    line: str


def step_on_stack(thread_id: int) -> OnStack | None:
    """Look at the stack of a thread. None: there is no such thread."""
    top = frame = sys._current_frames().get(thread_id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if top is None:
        return None
    line = f"{top.f_code.co_filename}:{top.f_lineno}"
    while frame is not None:
        if frame.f_code is _CODE:
            return _named(frame, line)
        frame = frame.f_back
    return OnStack("", "", line)


def _named(frame: FrameType, line: str) -> OnStack:
    found = frame.f_locals.get("execution"), frame.f_locals.get("identity")
    run_id = getattr(found[0], "run_id", "")
    return OnStack(str(run_id), str(found[1] or ""), line)
