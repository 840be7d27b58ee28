"""Why a run is not moving, in one sentence. Pure."""

from typing import Any

from stepwell.model import Run
from stepwell.store.base import OVER_FROM, RUNNING, RunRow
from stepwell.store.drafts import WANT_CANCEL


def explain(row: RunRow, run: Run[Any], now_ms: int) -> str:
    """Say in one sentence why a run is not moving."""
    if row.status >= OVER_FROM:
        return f"It is over: {run.status} since {run.completed_at:%Y-%m-%d %H:%M:%S} UTC" + (
            f", {run.error}." if run.error else "."
        )
    waiting = run.waiting_for
    if waiting is not None:
        others = f", and {waiting.others} more" if waiting.others else ""
        until = f" until {waiting.until:%Y-%m-%d %H:%M:%S.%f} UTC" if waiting.until else ""
        name, version = waiting.name, f" version {row.version!r}" if row.version else ""
        texts = {
            "sleep": f"It sleeps{until}{others}.",
            "signal": f"It waits for the signal {name!r}{until}{others}; {row.mailbox_seq} messages were received so far.",
            "retry": f"Step {name!r} failed and waits{until} to be tried again{others}.",
            "worker": f"No live worker knows workflow {row.workflow!r}{version}: start one.",
            "code": f"Its code does not fit its history: {name}. It is tried again{until}.",
            "paused": f"It is paused: {name}.",
            "compensation": _undoing(row, name, until),
        }
        return texts.get(waiting.kind, f"It waits for {waiting.kind} {waiting.name!r}{until}{others}.")
    if row.status == RUNNING and row.owner is not None:
        ago = now_ms - row.updated_at
        return f"It is being executed by node {row.owner}, with {row.seq} events so far; its last commit was {ago} ms ago."
    return "It is due, and waits for a worker with room." + (
        f" Its worker was lost {row.interruptions} times." if row.interruptions else ""
    )


def _undoing(row: RunRow, name: str, until: str) -> str:
    end = "It is being cancelled" if row.wanted & WANT_CANCEL else "It has failed"
    by = f"node {row.owner} executes it" if row.owner is not None else "it is due, and waits for a worker that knows it"
    what = f"they wait for {name!r}{until}" if name else by
    return f"{end}; the compensations of its completed steps run before it is over: {what}."
