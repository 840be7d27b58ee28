"""Records that a workflow's body writes: in the very commit that records the call, so exactly once."""

from typing import Any, Final

from stepwell import codec
from stepwell.execution.executor import Here
from stepwell.execution.here import for_ever, gone, is_past, past
from stepwell.execution.steps import RetryPolicy, StepSpec, fits, replayed
from stepwell.progress import NewEvent, StoredEvent, WriteRecords

_CALL: Final = StepSpec(
    name="", fn=dict, policy=RetryPolicy(), timeout_ms=None, on_error=None, key=None, at_most_once=False, returns=None
)
"""How what is recorded is read again: as of any step without options."""


async def write_records(branch: Here, name: str, args: tuple[Any, ...], request: WriteRecords) -> Any:
    """Have records written, and return what was written; or what is recorded of that.

    Args:
        name: Of the call, as of a step.
        args: What the caller gave: by it a replay is known to ask for the same.

    Raises:
        StepFailed: Nothing was written, and why is recorded.
    """
    execution = branch.execution
    if execution.closed or branch.is_closed:
        return await gone(branch)
    identity = branch.step(name, None)
    fingerprint = codec.fingerprint(args, {})
    record = execution.history.ask(identity)
    if record is not None:
        if not fits(execution, record, fingerprint):
            return await gone(branch)
        if record.outcome is not None:
            branch.now_ms = record.outcome.at_ms
            return await replayed(_CALL, branch, record.outcome)
    if is_past(branch):
        return await past(branch)
    inserted = ',"inserted":true' if record is None and execution.history.is_ahead(branch.path) else ""
    host = execution.host
    while True:
        if not (host.may_start() and execution.has_room()) or execution.is_late():
            await execution.until_body_may_start()
        room = execution.outbox.until_writable(host.writings_max)
        if room is None or execution.closed or branch.is_closed:
            break
        await room
    if execution.closed or branch.is_closed:
        return await gone(branch)
    if execution.is_draining:
        await for_ever()  # until the run is handed back, and this task put away with it
    if execution.undoing is not None:
        return await past(branch)
    # No barrier: what was recorded before is committed in the same transaction, or this is not done either.
    at_ms = branch.now_ms = execution.time()
    marks = f'{{"fingerprint":"{fingerprint}"{inserted}}}'
    event = await execution.write(NewEvent("step_completed", identity, name, marks, at_ms), request)
    if execution.closed or branch.is_closed:
        return await gone(branch)
    return await replayed(_CALL, branch, StoredEvent(0, *event))
