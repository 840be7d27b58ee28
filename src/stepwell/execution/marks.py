"""What a workflow says of itself: its state, for people to see, and which of its changes it has."""

from stepwell import codec
from stepwell.execution.executor import Here
from stepwell.execution.here import gone, is_past, past
from stepwell.execution.history import Answer
from stepwell.progress import NewEvent


async def set_state(branch: Here, text: str) -> None:
    """Record the state of the run, a JSON text."""
    execution = branch.execution
    if execution.closed or branch.is_closed:
        return await gone(branch)
    record = execution.history.ask(identity := branch.operation("state"))
    if record is not None and record.outcome is not None:
        branch.now_ms = record.outcome.at_ms
        return None
    if is_past(branch):
        return await past(branch)
    inserted = ',"inserted":true' if execution.history.is_ahead(branch.path) else ""
    branch.now_ms = execution.time()
    execution.record(NewEvent("state_set", identity, "", f'{{"state":{text}{inserted}}}', branch.now_ms))
    return None


async def patched(branch: Here, change: str) -> bool:
    """Tell whether the run has a change of its code. What is decided where it first asks holds for the whole run."""
    execution = branch.execution
    if execution.closed or branch.is_closed:
        await gone(branch)
        return False
    history, asked = execution.history, ("patch", change)
    if asked not in history.answers:
        # No ordinal and no branch: however often and wherever it is asked, there is one answer. It is never missed, for the
        # question is taken out of the code again one day.
        identity = f"patch:{change}"
        record = history.ask(identity)
        if record is not None and record.outcome is not None:
            is_patched = bool(codec.decode(record.outcome.payload)["patched"])
        elif is_past(branch):
            await past(branch)
            return False
        else:
            is_patched = not history.is_ahead_below(branch.path)
            answer = f'{{"patched":{"true" if is_patched else "false"},"inserted":true}}'
            execution.record(NewEvent("patch_marked", identity, change, answer, execution.time()))
        history.answers[asked] = Answer("true" if is_patched else "false", 0)
    return history.answers[asked].payload == "true"
