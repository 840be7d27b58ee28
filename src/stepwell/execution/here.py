"""Which branch a durable call is made from."""

import asyncio
from typing import NoReturn

from stepwell.execution.branch import Branch, current
from stepwell.execution.executor import Execution, Here
from stepwell.execution.rest import Wait


def branch_here() -> Here | None:
    """Return the caller's branch; None outside of workflows and in the body of a step.

    An asyncio task that the workflow started gets a branch of its own at its first durable call.
    """
    scope = current.get()
    if not isinstance(scope, Branch):
        return None
    branch: Branch[Execution] = scope
    execution = branch.execution
    if execution.closed:
        return branch
    if branch.parent is not None:
        execution.is_branched = True
        branch.number()
    return branch


async def gone(branch: Here) -> None:
    """What a durable call does when its run is not held any more, or its branch lost a race: nothing.

    In a ``finally`` of a task that is being put away it returns. Code that has swallowed its cancellation, and goes on, is
    put away here: it sees ``GeneratorExit``.
    """
    tasks = branch.execution.tasks
    if not tasks.is_putting_away or tasks.is_stubborn():
        tasks.put_away_soon(asyncio.current_task())
        await for_ever()


def is_past(branch: Here) -> bool:
    """Tell whether nothing new is to be done in a branch: what is recorded is answered still, so that the compensations of what
    was completed are found.
    """
    return branch.is_past or branch.execution.is_past


async def past(branch: Here) -> None:
    """What a durable call does there that is not recorded: it waits until the function is stopped."""
    if branch.is_past:
        await gone(branch)
    else:
        await Wait(branch.execution, "compensation").over()
        await for_ever()


async def for_ever() -> NoReturn:
    """Wait for the end of this task: user code must not see why."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("what is for ever has ended")
