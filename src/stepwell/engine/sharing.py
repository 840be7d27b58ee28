"""What a fork has of the run that it is a fork of. Pure.

A fork begins with copies of events. What was open where it parts is not the fork's: a child that had not ended has another
parent, a hook that was not answered answers another run. So it gets hooks of its own, and starts children of its own; and in the
copies the names of the old ones are replaced by those of the new.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

import msgspec

from stepwell.engine.created import forked_payload
from stepwell.errors import NotFoundError, ValidationError
from stepwell.execution.history import TRANSCRIBED, History
from stepwell.execution.identity import call_key, child_id
from stepwell.execution.tokens import BODY_HOOK, TokenParts, parse_token
from stepwell.model import OVER
from stepwell.progress import StoredEvent
from stepwell.store.base import HookRow, Share
from stepwell.store.drafts import EVENT_ID_PREFIX

ENDINGS: Final = frozenset({"run_completed", "run_failed", "run_cancelled"})
_UNDOING: Final = ("cancel_", "compensation_")
"""How the types of events begin that come once the run's own code is over, and is being undone."""
_MAIL: Final = frozenset(TRANSCRIBED.values())


class _Asked(msgspec.Struct, rename="camel"):
    """The payload of ``hook_created``."""

    hook_id: str
    action: str
    payload: msgspec.Raw
    expires: str


class _Mail(msgspec.Struct, rename="camel"):
    mailbox_seq: int = 0


class _Step(msgspec.Struct):
    result: Any = None


_encode: Final = msgspec.json.Encoder().encode
_asked: Final = msgspec.json.Decoder(_Asked).decode
_mail: Final = msgspec.json.Decoder(_Mail).decode
_step: Final = msgspec.json.Decoder(_Step).decode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Fork(NamedTuple):
    """Which fork of which run: its own id, the run's, the last event that it shares, another input (a JSON text), and now."""

    run_id: str
    source_run_id: str
    seq: int
    input: str | None
    at_ms: int


class _Child(NamedTuple):
    """A child that the fork starts anew: by which step, as which run, and which run that was."""

    step_id: str
    new_id: str
    old_id: str


def last_to_share(events: Sequence[StoredEvent]) -> int:
    """Return the number of the last event with which a fork could begin: before the end, and before anything was undone."""
    undone = next((event.seq for event in events if event.type.startswith(_UNDOING)), len(events) + 1)
    last = min(undone - 1, len(events))
    return last - 1 if events[last - 1].type in ENDINGS else last


def check_place(run_id: str, events: Sequence[StoredEvent], from_event: int) -> int:
    """Return the number of an event with which a fork can begin.

    Raises:
        ValidationError: It is none.
    """
    last = last_to_share(events)
    if not 1 <= from_event <= last:
        raise ValidationError(f"from_event must be an event of run {run_id!r}, 1 to {last}, not {from_event}", field="from_event")
    if events[from_event - 1].type in ENDINGS:
        raise ValidationError(
            f"from_event {from_event} of run {run_id!r} is the end of an attempt: take the event before it, or a later one",
            field="from_event",
        )
    return from_event


def share(
    fork: Fork, events: Sequence[StoredEvent], *, voided: Sequence[str], runs: Sequence[str],
    token: Callable[[TokenParts, str, str], str],
) -> Share:  # fmt: skip
    """Return what a fork begins with.

    Args:
        events: Those that it shares.
        voided: Identities whose outcomes count no more in the fork.
        runs: Children that it starts anew although they are over.
        token: Makes the token of a hook, from its parts, its name and its action.

    Raises:
        msgspec.MsgspecError: An event cannot be read.
    """
    history = History(events)
    children = list(_children(history, fork, runs))
    made = _recorded_tokens(history, fork)
    hooks = _hooks(history, events, fork, made)
    names = {child.old_id: child.new_id for child in children if child.old_id != child.new_id}
    tokens = {
        old: token(TokenParts(fork.run_id, hook_id, hook.expires or 0), hook.name, hook.action)
        for hook_id, old in made.items()
        if (hook := hooks.get(hook_id)) is not None
    }
    rewritten = [events[0]._replace(payload=forked_payload(events[0].payload, fork.input))]
    done = {event.step_id for event in history.outcomes()}
    for event in events[1:]:
        renamed = _renamed(_emitted(event, done, fork), names, tokens, fork)
        if renamed != event:
            rewritten.append(renamed)
    anew = dict.fromkeys([*voided, *(child.step_id for child in children)])
    said = {"sourceRunId": fork.source_run_id, "fromEvent": fork.seq, "voided": list(anew)}
    return Share(
        source_run_id=fork.source_run_id, seq=fork.seq, rewritten=rewritten, forked=_encode(said).decode(),
        mailbox_seq=max((_mail(event.payload).mailbox_seq for event in events if event.type in _MAIL), default=0),
        undo=0, hooks=list(hooks.values()),
    )  # fmt: skip


def _children(history: History, fork: Fork, runs: Sequence[str]) -> Iterator[_Child]:
    """Yield the children whose end is not among what is shared, and those named by ``runs``."""
    over = {run_id for (kind, run_id) in history.answers if kind == "run"}
    started: list[tuple[str, str]] = []
    for event in history.outcomes():
        if event.type != "step_completed" or not event.name.startswith("workflow."):
            continue
        result = _step(event.payload).result
        over.update(_seen_over(result))
        if event.name == "workflow.trigger" and isinstance(result, dict):
            run = cast("dict[str, Any]", result)
            if run.get("parentRunId") == fork.source_run_id:
                started.append((event.step_id, str(run.get("runId"))))
    for step_id, old_id in started:
        if old_id not in over or old_id in runs:
            # One that was given its id is found again by it; the others are named after who starts them.
            is_derived = old_id == child_id(call_key(fork.source_run_id, step_id, 1))
            yield _Child(step_id, child_id(call_key(fork.run_id, step_id, 1)) if is_derived else old_id, old_id)


def _seen_over(value: Any) -> Iterator[str]:
    """Yield the ids of the runs in a recorded result that were over."""
    if isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _seen_over(item)
    elif isinstance(value, dict):
        run = cast("dict[str, Any]", value)
        if run.get("status") in OVER and isinstance(run.get("runId"), str):
            yield run["runId"]
        for inner in run.values():
            yield from _seen_over(inner)


def _hooks(history: History, events: Sequence[StoredEvent], fork: Fork, made: Mapping[str, str]) -> dict[str, HookRow]:
    """Return, by id, the hooks of the fork: those that were not answered and had not expired. Each gets its whole time anew.

    One whose step is not completed yet is not among them: the fork will ask by itself.
    """
    expired = {
        event.step_id.rpartition("/")[2].removeprefix("hook:").partition("#")[0]
        for event in history.outcomes()
        if event.type == "hook_expired"
    }
    found: dict[str, HookRow] = {}
    for event in events:
        if event.type != "hook_created":
            continue
        asked = _asked(event.payload)
        if ("hook", asked.hook_id) in history.answers or asked.hook_id in expired:
            continue
        if asked.hook_id.startswith(BODY_HOOK) and asked.hook_id not in made:
            continue
        lasts_ms = int(datetime.fromisoformat(asked.expires).timestamp() * 1000) - event.at_ms
        found[asked.hook_id] = HookRow(
            run_id=fork.run_id, hook_id=asked.hook_id, seq=event.seq, name=event.name, action=asked.action,
            payload=bytes(asked.payload).decode(), expires=fork.at_ms + lasts_ms, created_at=fork.at_ms,
        )  # fmt: skip
    return found


def _recorded_tokens(history: History, fork: Fork) -> dict[str, str]:
    """Return, by the ids of hooks, the tokens that steps have recorded of the run's own."""
    found: dict[str, str] = {}
    for event in history.outcomes():
        if event.name != "workflow.create_hook" or event.type != "step_completed":
            continue
        made = _step(event.payload).result
        try:
            parts = parse_token(made["token"])
        except (NotFoundError, KeyError, TypeError):
            continue
        if parts.run_id == fork.source_run_id:
            found[parts.hook_id] = str(made["token"])
    return found


def _renamed(event: StoredEvent, names: Mapping[str, str], tokens: Mapping[str, str], fork: Fork) -> StoredEvent:
    """Return an event with the names of the fork's own children and hooks: they are drawn, so nothing else reads like them."""
    step_id, name, payload = event.step_id, event.name, event.payload
    for old, new in names.items():
        step_id, name, payload = step_id.replace(old, new), name.replace(old, new), payload.replace(old, new)
    for old, new in tokens.items():
        if old in payload:
            payload = payload.replace(old, new)
            if event.name == "workflow.create_hook":
                payload = _of_run(payload, fork.run_id)
    return event._replace(step_id=step_id, name=name, payload=payload)


def _emitted(event: StoredEvent, done: Set[str], fork: Fork) -> StoredEvent:
    """Return a user's event under the id that the fork will give it, if the body was about to record that it was emitted."""
    prefix = f"{EVENT_ID_PREFIX}{fork.source_run_id}/"
    if not event.step_id.startswith(prefix):
        return event
    step_id, _, call = event.step_id.removeprefix(prefix).rpartition("/")
    if step_id in done or not call.isdecimal():
        return event
    return event._replace(step_id=EVENT_ID_PREFIX + call_key(fork.run_id, step_id, int(call)))


def _of_run(payload: str, run_id: str) -> str:
    """Return the record of a hook as that of another run."""
    record = _members(payload)
    record["result"] = msgspec.Raw(_encode({**_members(record["result"]), "runId": run_id}))
    return _encode(record).decode()
