"""What must hold, whatever happens."""

from tests.model.execution import Program, outstanding, since_retry, transcribed
from tests.model.explorer import Broken
from tests.model.words import CANCELLED, COMPLETED, FAILED, FINALS, PAUSED, Ask, Row

MOVES_PAUSED = {"resume", "cancel", "deadline", "amend", "user"}
"""What may do something to a paused run, besides messages that are kept for it."""


def check_change(program: Program, why: str, before: Row, after: Row) -> None:
    """Check what an operation did to a row."""
    if after.events[: len(before.events)] != before.events:
        raise Broken(f"history: {before.events} became {after.events}")
    if before.is_over and after != before and not (why == "retry" and before.status == FAILED):
        raise Broken(f"over: {why} changed a run that is {before.status}")
    if before.status == PAUSED and why not in MOVES_PAUSED and (after.status, after.events) != (before.status, before.events):
        raise Broken(f"paused: {why} moved a paused run")
    if after.is_over and after.is_to_pause:
        raise Broken("over: a run that has ended is still to be paused, should somebody retry it")
    if after.status == PAUSED and why == "cancel" and before.wanted != after.wanted:
        raise Broken("cancel: acknowledged, and the run stays paused")
    if after.status == PAUSED and after.owner is not None:
        raise Broken("paused: a paused run has an owner")
    if before.hook not in ("", "open") and after.hook != before.hook:
        raise Broken(f"hook: answer {before.hook} became {after.hook}")
    if after.events != before.events:
        _check_events(program, before, after)
    if after.consumed != before.consumed:
        _check_mailbox(after)


def _check_events(program: Program, before: Row, after: Row) -> None:
    events = after.events
    for place, event in enumerate(events[:-1]):
        if event in FINALS and events[place + 1] != "retried":
            raise Broken(f"one end: {events}")
    for place, event in enumerate(events):
        if event == "retried" and events[place - 1] != FAILED:
            raise Broken(f"one winner: {events}")
    left = outstanding(program, before.events, before.own_from)
    for event in events[len(before.events) :]:
        if event.startswith("undone"):
            if not left or f"undone {left[-1]}" != event:
                raise Broken(f"compensations: {event} was recorded where {left} are to be undone")
            left.pop()
    left = outstanding(program, events, after.own_from)
    if after.status in (FAILED, CANCELLED) and left:
        raise Broken(f"compensations: {after.status}, and {left} are not undone")
    if after.status == COMPLETED and any(event.startswith("undone") for event in events):
        raise Broken("compensations: completed on steps that are undone")
    if after.status == COMPLETED and "hook expired" in events and after.hook not in ("", "open"):
        raise Broken("hook: answered in time, and the run was told that nobody did")


def _check_mailbox(row: Row) -> None:
    for word in row.mailbox[: row.consumed]:
        if any(event not in row.events for event in transcribed(word)):
            raise Broken(f"mailbox: {word} counts as consumed, and was never given to the run")


def check_body(program: Program, body: str, row: Row) -> None:
    """Check that a body may begin now."""
    if body in row.events or f"{body} failed" in since_retry(row.events):
        raise Broken(f"recorded: the body of {body} begins again")
    if row.status == PAUSED:
        raise Broken(f"paused: the body of {body} begins in a paused run")
    heard = [word for word in row.mailbox[: row.consumed] if word.startswith("pause")]
    if row.is_to_pause and heard and heard[-1] == [word for word in row.mailbox if word.startswith("pause")][-1]:
        raise Broken(f"paused: the body of {body} begins after its run was told to pause")
    left = outstanding(program, row.events, row.own_from)
    if body.startswith("undone") and (not left or f"undone {left[-1]}" != body):
        raise Broken(f"compensations: {body} begins where {left} are to be undone")


def check_undone_once(rows: tuple[Row, ...]) -> None:
    """Check that what a run and its fork share is undone by one of them."""
    first, fork = rows[0], rows[-1]
    for event in fork.events[: fork.shared]:
        if f"undone {event}" in first.events and f"undone {event}" in fork.events:
            raise Broken(f"compensations: {event} was done once, and undone twice")


def check_acknowledged(rows: tuple[Row, ...], acknowledged: tuple[Ask, ...]) -> None:
    """Check that what a client was told still stands."""
    for run, word in acknowledged:
        row = rows[run]
        if word in ("yes", "no"):
            kept = row.hook == word
        elif word == "cancel":
            kept = row.status in (CANCELLED, FAILED) or row.wanted == "cancel" or "cancel asked" in row.events
        elif word == "retry":
            kept = "retried" in row.events
        elif word[0] in "mb":
            kept = word in row.mailbox
        else:
            kept = True
        if not kept:
            raise Broken(f"acknowledged: {word} was acknowledged, and is lost")
