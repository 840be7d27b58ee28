"""The scopes that are explored: those in which all rules hold, and for each rule one that shows what leaving it out does."""

from typing import Final, NamedTuple

from tests.model.execution import Program
from tests.model.outside import Scope
from tests.model.words import Ask


def _asks(*words: str) -> tuple[Ask, ...]:
    """Return what clients ask of the first run; of the second where a word ends in ``"@1"``."""
    parts = [word.partition("@") for word in words]
    return tuple(sorted(Ask(int(run or 0), word) for word, _, run in parts))


def _run(*steps: str, has_deadline: bool = False) -> Program:
    return Program(steps, has_deadline)


WAITS: Final = _run("do a", "signal", "do z")
WAITS_TWICE: Final = _run("do a", "signal", "signal", "do z")
RUNS: Final = _run("do a", "do z")
SAGA: Final = _run("undoable a", "undoable b", "do z")
FAILS: Final = _run("do a", "failing b")
FAILED_SAGA: Final = _run("undoable a", "undoable b", "failing c")
LATE: Final = _run("do a", "do z", has_deadline=True)
LATE_SAGA: Final = _run("undoable a", "do z", has_deadline=True)
ASKS: Final = _run("hook", "do z")
PARENT: Final = _run("start child", "await child", "do z")
CHILD: Final = _run("do c")
BAD_CHILD: Final = _run("failing c")
SAGA_CHILD: Final = _run("undoable c", "do d")

SHORT: Final = {
    "nobody dies, a signal": Scope((WAITS,), _asks("m1"), pairs=True),
    "a crash, a signal": Scope((WAITS,), _asks("m1"), crashes=1),
    "a frozen process, a signal": Scope((WAITS,), _asks("m1"), pauses=1),
    "contact lost, a signal": Scope((WAITS,), _asks("m1"), losses=1),
    "users' events, a crash": Scope((RUNS,), _asks("user", "user"), crashes=1),
    "a failover": Scope((WAITS,), _asks("m1"), failovers=1, identities_max=4, nodes=1),
    "cancel against completion": Scope((RUNS,), _asks("cancel"), crashes=1, pairs=True),
    "cancel against a signal": Scope((WAITS,), _asks("cancel", "m1"), pairs=True),
    "cancel of a saga, a crash": Scope((SAGA,), _asks("cancel"), crashes=1),
    "cancel of a saga, a frozen process": Scope((SAGA,), _asks("cancel"), pauses=1),
    "cancel of a saga, contact lost": Scope((_run("undoable a", "do z"),), _asks("cancel"), losses=1),
    "cancel and pause of a saga": Scope((SAGA,), _asks("cancel", "pause", "resume"), nodes=1, crashes=1),
    "a saga that fails, a crash": Scope((FAILED_SAGA,), _asks("retry"), crashes=1),
    "a saga that fails, is cancelled and paused": Scope((FAILED_SAGA,), _asks("cancel", "pause", "resume"), nodes=1),
    "pause and resume, a crash": Scope((WAITS,), _asks("pause", "resume", "m1"), nodes=1, crashes=1),
    "pause twice": Scope((RUNS,), _asks("pause", "pause", "resume", "resume"), nodes=2),
    "pause, and a result by hand": Scope((RUNS,), _asks("pause", "amend z", "resume"), crashes=1, nodes=1),
    "pause against cancel": Scope((WAITS,), _asks("pause", "cancel"), crashes=1),
    "deadline of a wait, a crash": Scope((_run("do a", "signal", "do z", has_deadline=True),), _asks("m1"), crashes=1, nodes=1),
    "deadline of a saga": Scope((LATE_SAGA,), _asks("cancel"), crashes=1, nodes=1),
    "deadline of a paused saga": Scope((LATE_SAGA,), _asks("pause", "resume"), nodes=2),
    "deadline, then retry": Scope((LATE,), _asks("retry"), nodes=2),
    "a hook, two answers": Scope((ASKS,), _asks("yes", "no"), nodes=2),
    "a hook, answered and expired, a crash": Scope((ASKS,), _asks("yes"), crashes=1),
    "a hook of a paused run": Scope((ASKS,), _asks("yes", "pause", "resume"), nodes=1),
    "retry against retry, a crash": Scope((FAILS,), _asks("retry", "again"), crashes=1),
    "retry against cancel": Scope((FAILS,), _asks("retry", "cancel", "pause", "resume")),
    "parent and child, a crash": Scope((PARENT, CHILD), crashes=1, nodes=1),
    "parent and child": Scope((PARENT, CHILD)),
    "a child that fails, its parent retried": Scope((PARENT, BAD_CHILD), _asks("retry", "retry@1"), nodes=1),
    "cancel of a parent whose child is a saga": Scope((PARENT, SAGA_CHILD), _asks("cancel"), nodes=1, crashes=1),
    "a fork": Scope((SAGA, SAGA), _asks("fork", "cancel", "cancel@1"), nodes=1),
    "a fork of a run that has failed": Scope((FAILED_SAGA, FAILED_SAGA), _asks("fork"), nodes=1, crashes=1),
}
"""Together under a minute."""

LONG: Final = {
    "two signals, two nodes": Scope((WAITS_TWICE,), _asks("m1", "m2"), crashes=1, pairs=True),
    "two crashes": Scope((WAITS,), _asks("m1"), crashes=2, identities_max=4),
    "both leases run out": Scope((WAITS,), _asks("m1"), pauses=2, identities_max=4),
    "a failover, two nodes": Scope((WAITS,), _asks("m1"), failovers=1, identities_max=4),
    "a failover loses two commits": Scope((RUNS,), _asks("m1", "m2"), failovers=1, depth=2, identities_max=4),
    "a crash and contact lost": Scope((RUNS,), _asks("m1"), crashes=1, losses=1, identities_max=4),
    "a clone that runs no body": Scope((_run("signal"),), _asks("m1"), clones=1, losses=1, identities_max=4),
    "parent and child, a frozen process": Scope((PARENT, CHILD), pauses=1),
    "parent and child, a crash, two nodes": Scope((PARENT, CHILD), crashes=1),
    "a child that fails, a crash": Scope((PARENT, BAD_CHILD), _asks("retry", "retry@1"), crashes=1),
    "cancel and pause of a saga, two nodes": Scope((SAGA,), _asks("cancel", "pause", "resume"), crashes=1),
    "a saga that fails, is cancelled and paused": Scope((FAILED_SAGA,), _asks("cancel", "pause", "resume"), crashes=1),
    "pause and resume, two nodes": Scope((WAITS,), _asks("pause", "resume", "m1"), crashes=1),
    "deadline of a saga, two nodes": Scope((LATE_SAGA,), _asks("cancel", "pause", "resume"), crashes=1),
    "hook, pause, two answers, a crash": Scope((ASKS,), _asks("yes", "no", "pause", "resume"), crashes=1),
    "cancel of a parent whose child is a saga, two nodes": Scope((PARENT, SAGA_CHILD), _asks("cancel"), crashes=1),
    "a fork, two nodes": Scope((SAGA, SAGA), _asks("fork", "cancel@1"), crashes=1),
}  # fmt: skip


class Wrong(NamedTuple):
    """A scope in which a rule left out shows, and which laws may tell."""

    scope: Scope
    laws: set[str]
    also: tuple[str, ...] = ()
    """Rules that have to go with it, because they would hide it."""


STUCK: Final = "stuck"

BAD: Final = {
    "new_identity": Wrong(Scope((RUNS, RUNS), pauses=1, identities_max=2), {"mixed", "recorded", STUCK}, ("compares",)),
    "compares": Wrong(Scope((WAITS,), _asks("m1"), losses=1), {STUCK, "mixed", "acknowledged", "recorded"}),
    "verifies": Wrong(Scope((RUNS,), failovers=1, nodes=2), {"recorded", "mixed", STUCK}),
    "random_batch_id": Wrong(Scope((_run("signal"),), _asks("m1"), clones=1, losses=1), {"acknowledged"}, ("compares",)),
    "turn_guard": Wrong(Scope((RUNS,), _asks("user")), {STUCK}, ("compares",)),
    "mail_makes_due": Wrong(Scope((WAITS,), _asks("m1"), nodes=1), {STUCK}),
    "free_makes_due": Wrong(Scope((WAITS,), _asks("m1"), crashes=1), {STUCK}),
    "lease_check": Wrong(Scope((RUNS,), pauses=1), {"recorded"}),
    "message_identity": Wrong(Scope((WAITS,), _asks("m1", "m2"), failovers=1), {"mailbox"}),
    "transcribes_in_order": Wrong(Scope((WAITS,), _asks("b1", "m1"), nodes=1), {"mailbox"}),
    "quiet_time_outs": Wrong(Scope((ASKS,), _asks("yes"), nodes=1), {"hook"}),
    "quiet_suspensions": Wrong(Scope((WAITS,), _asks("m1"), nodes=1), {STUCK}),
    "first_answer_stands": Wrong(Scope((ASKS,), _asks("yes", "no"), nodes=1), {"hook"}),
    "tells_late_waits": Wrong(Scope((PARENT, CHILD), nodes=1), {STUCK}),
    "rounds_count_attempts": Wrong(Scope((PARENT, BAD_CHILD), _asks("retry"), nodes=1), {STUCK}),
    "cancel_minds_undo": Wrong(Scope((SAGA,), _asks("cancel"), nodes=1), {"compensations"}),
    "cancel_wakes_paused": Wrong(Scope((SAGA,), _asks("cancel", "pause"), nodes=1), {"cancel"}),
    "cancel_is_recorded": Wrong(Scope((SAGA,), _asks("cancel"), nodes=1), {"mailbox", STUCK}),
    "completing_minds_cancel": Wrong(Scope((SAGA,), _asks("cancel"), nodes=1), {"cancel"}),
    "pause_at_letting_go": Wrong(Scope((WAITS,), _asks("pause", "m1"), nodes=1), {"paused"}),
    "deadline_minds_undo": Wrong(Scope((LATE_SAGA,), nodes=1), {"compensations"}),
    "body_minds_deadline": Wrong(Scope((LATE,), _asks("retry"), nodes=2), {"recorded"}),
    "end_forgets_pause": Wrong(Scope((FAILS,), _asks("retry", "pause"), nodes=1), {"over"}),
    "pause_keeps_cancel": Wrong(Scope((SAGA,), _asks("cancel", "pause"), nodes=1), {"acknowledged"}),
    "last_first": Wrong(Scope((FAILED_SAGA,), nodes=1), {"compensations"}),
    "retry_has_one_winner": Wrong(Scope((FAILS,), _asks("retry", "again"), nodes=1), {"one winner", "over"}),
    "retry_minds_undo": Wrong(Scope((FAILED_SAGA,), _asks("retry"), nodes=1), {"compensations"}),
    "fork_undoes_its_own": Wrong(Scope((SAGA, SAGA), _asks("fork", "cancel", "cancel@1"), nodes=1), {"compensations"}),
    "fork_has_no_end": Wrong(Scope((FAILS, FAILS), _asks("fork"), nodes=1), {STUCK, "one end", "over"}),
}
