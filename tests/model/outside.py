"""What happens whoever is at work: leases and deadlines run out, clients ask again, a store loses its last commits."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.model.execution import Program, is_signal
from tests.model.explorer import Move
from tests.model.rules import Rules
from tests.model.words import ABSENT, RUNNING, Ask, Flight, Identity, Process, State


class Scope(NamedTuple):
    """How much of everything."""

    programs: tuple[Program, ...]
    asks: tuple[Ask, ...] = ()
    nodes: int = 2
    identities_max: int = 3
    crashes: int = 0
    losses: int = 0
    """Of contact while a batch is under way."""
    pauses: int = 0
    """Of processes, past their leases."""
    failovers: int = 0
    depth: int = 1
    """How many commits a failover may lose."""
    clones: int = 0
    resends: int = 2
    pairs: bool = False
    """Whether an owner's operation and a client's may share a batch."""


def time_passes(state: State) -> Iterator[Move]:
    chances = state.chances
    at_work = {process.identity for process in state.processes if process.is_up}
    for identity, node in enumerate(state.identities):
        if node.is_alive and node.has_lease:
            over = state._replace(identities=at(state.identities, identity, node._replace(has_lease=False)))
            if identity not in at_work:
                yield Move(f"the lease of id {identity} runs out", False, over)
            elif chances.pauses:
                over = over._replace(chances=chances._replace(pauses=chances.pauses - 1))
                yield Move(f"id {identity} is frozen past its lease", True, over)
    for run, row in enumerate(state.rows):
        if row.deadline == "ahead" and not row.is_over:
            late = row._replace(deadline="passed")
            passed = state._replace(rows=at(state.rows, run, late), processes=_late(state.processes, run, row.turn))
            yield Move(f"the deadline of {run} passes", False, passed)
        if row.hook and not row.is_hook_late and not row.is_over:
            late = row._replace(is_hook_late=True, is_due=row.is_due or (row.owner is None and row.status == RUNNING))
            yield Move(f"the hook of {run} expires", False, state._replace(rows=at(state.rows, run, late)))


def outside(scope: Scope, rules: Rules, state: State) -> Iterator[Move]:
    chances = state.chances
    if chances.resends:
        yield from _send_again(scope, state)
    if chances.failovers:
        for lost in range(1, len(state.past) + 1):
            yield Move(f"a failover loses {lost} commits", True, _failed_over(rules, state, lost))
    first = state.processes[0]
    if chances.clones and first.is_up and first.flight is None:
        copied = state._replace(processes=(first, first), chances=chances._replace(clones=chances.clones - 1))
        yield Move("N1 becomes a clone of N0", True, copied)


def _send_again(scope: Scope, state: State) -> Iterator[Move]:
    """A client that heard nothing asks again: what it asks for has an id, or is the same if it is done twice."""
    chances = state.chances
    flights = [process.flight for process in state.processes if process.flight is not None]
    flying = {operation for flight in flights for operation in flight.operations}
    for ask in dict.fromkeys(scope.asks):
        is_safe = is_signal(ask.word) or ask.word in ("yes", "no", "cancel")
        is_open = ask not in chances.unsent and ask not in chances.acknowledged and ask not in flying
        if is_safe and is_open and not state.rows[ask.run].is_over and state.rows[ask.run].status != ABSENT:
            unsent = tuple(sorted((*chances.unsent, ask)))
            again = chances._replace(unsent=unsent, resends=chances.resends - 1)
            yield Move(f"a client asks again for {ask.word}", False, state._replace(chances=again))
            return


def _failed_over(rules: Rules, state: State, lost: int) -> State:
    """The store goes on without its last commits; every process has lost contact."""
    identities, rows = state.past[-lost]
    identities += tuple(Identity(False, -9, 0, False) for _ in range(len(state.identities) - len(identities)))
    processes = tuple(_cut_off(process, verifies=rules.verifies) for process in state.processes)
    kept = tuple(ask for ask in state.chances.acknowledged if not is_signal(ask.word) or ask.word in rows[ask.run].mailbox)
    chances = state.chances._replace(failovers=state.chances.failovers - 1, acknowledged=kept)
    return State(identities, rows, processes, None, chances, ())


def at(items: tuple[Any, ...], place: int, item: Any) -> tuple[Any, ...]:
    return (*items[:place], item, *items[place + 1 :])


def _late(processes: tuple[Process, ...], run: int, turn: int) -> tuple[Process, ...]:
    """Time has come for everybody who holds the run under this deadline."""
    return tuple(
        process._replace(held=at(process.held, run, held._replace(is_late=True)))
        if (held := process.held[run]) is not None and held.turn == turn
        else process
        for process in processes
    )


def _cut_off(process: Process, *, verifies: bool) -> Process:
    if process.flight is not None:
        return process._replace(flight=process.flight._replace(is_unknown=True))
    return process._replace(flight=Flight(True, 0, ())) if verifies and process.is_up else process
