"""What is asked of the outside, and what it has answered: the rules, without a database."""

from stepwell.progress import NewEvent
from stepwell.store.base import OVER_FROM, PENDING, AnswerHook, Hooked, HookRow, MakeHook, Put
from stepwell.store.drafts import UNDOING, Page, put


def make(page: Page, request: MakeHook) -> Hooked:
    """Make a hook, or find the one that has this id: what was asked first stands."""
    known = page.hooks.get((request.run_id, request.hook_id))
    if known is not None:
        return Hooked("same", known)
    run = page.runs.get(request.run_id)
    if run is None:
        return Hooked("missing", None)
    if run.status >= OVER_FROM:
        return Hooked("over", None)
    # As for any event from outside: room is left for the final event, and for run_started where it is still to come.
    if run.seq + 1 + (2 if run.status == PENDING else 1) > run.max_events:
        return Hooked("limit", None)
    hook = HookRow(
        run_id=request.run_id, hook_id=request.hook_id, seq=run.seq + 1, name=request.name, action=request.action,
        payload=request.payload, expires=request.expires_ms, created_at=request.at_ms,
    )  # fmt: skip
    page.append(run, NewEvent("hook_created", "", request.name, request.said, request.at_ms))
    page.hooks[request.run_id, request.hook_id] = hook
    page.changed_hooks.append(hook)
    return Hooked("created", hook)


def answer(page: Page, request: AnswerHook) -> Hooked:
    """Take an answer and tell the run. The first stands."""
    known = page.hooks.get((request.run_id, request.hook_id))
    run = page.runs.get(request.run_id)
    if known is None or run is None:
        return Hooked("missing", None)
    if known.answer_id is not None:
        return Hooked("answered" if known.answer_id != request.answer_id else "stored", known)
    if run.status >= OVER_FROM or run.wanted & UNDOING:
        return Hooked("over", known)
    if known.expires is not None and known.expires <= request.at_ms:
        return Hooked("expired", known)
    hook = known._replace(answer_id=request.answer_id, answer=request.payload, answered_at=request.at_ms)
    page.hooks[request.run_id, request.hook_id] = hook
    page.changed_hooks.append(hook)
    # A hook has one answer, so its own id tells the message from all others; callers may use one answer id for several hooks.
    put(
        page, Put(
            run_id=run.run_id, kind="hook", name=request.hook_id, message_id=request.hook_id, payload=request.payload,
            at_ms=request.at_ms,
        ),
    )  # fmt: skip
    page.mailed.append(run.run_id)
    return Hooked("stored", hook)
