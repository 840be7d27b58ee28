"""Which branch a durable call is made from."""

import asyncio

from stepwell.execution.branch import Branch, current
from stepwell.execution.executor import Execution, Here


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


def gone(branch: Here) -> None:
    """What a durable call does when its run is not held any more, or its branch lost a race: nothing.

    Raises:
        CancelledError: The branch was cancelled, and its code has swallowed that.
    """
    if branch.execution.closed not in {"evicted", "released"}:
        raise asyncio.CancelledError
