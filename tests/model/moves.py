"""All that can happen next: above all what nodes do, and what happens to them."""

from collections.abc import Iterator
from typing import Any

from tests.model.canon import canonical
from tests.model.execution import Next, is_signal, next_of
from tests.model.explorer import Broken, Move
from tests.model.laws import check_acknowledged, check_body
from tests.model.outside import Scope, at, outside, time_passes
from tests.model.rules import Rules
from tests.model.store import Batch, Committed, commit, is_claimable, visible
from tests.model.words import (
    ABSENT,
    PAUSED,
    PENDING,
    RUNNING,
    Ask,
    Chances,
    Claim,
    Flight,
    Held,
    Identity,
    Operation,
    Process,
    Record,
    Row,
    State,
    Stray,
)

GROUPS = (Record, Ask, Claim)
"""The order in which a batch does its operations."""


class Model:
    """A scope under rules."""

    def __init__(self, scope: Scope, rules: Rules) -> None:
        self._scope = scope
        self._rules = rules
        self._nonces_matter = bool(scope.losses or scope.clones or scope.failovers)

    def first(self) -> State:
        scope, nobody = self._scope, (None,) * len(self._scope.programs)
        rows = tuple(Row(status=PENDING if run == 0 or not self._comes_later() else ABSENT) for run in range(len(nobody)))
        chances = Chances(
            scope.crashes, scope.losses, scope.pauses, scope.failovers, scope.clones, scope.asks, (), scope.resends, 1
        )  # fmt: skip
        processes = tuple(Process(True, node, 0, None, nobody) for node in range(scope.nodes))
        state = State(tuple(Identity() for _ in range(scope.nodes)), rows, processes, None, chances, ())
        return canonical(state, nonces_matter=self._nonces_matter)

    def _comes_later(self) -> bool:
        """Tell whether the second run is made by the first, or by a fork."""
        first = self._scope.programs[0]
        return "start child" in first.steps or any(ask.word == "fork" for ask in self._scope.asks)

    @staticmethod
    def is_goal(state: State) -> bool:
        """All runs are over, but for one that rests because somebody asked for it."""
        return all(row.is_over or row.status == ABSENT or row.status == PAUSED for row in state.rows)

    def moves(self, state: State) -> Iterator[Move]:
        """Return all moves from a state, their targets in canonical form."""
        for label, is_fault, target in self._all(state):
            if isinstance(target, State):
                target = canonical(target, nonces_matter=self._nonces_matter)
            yield Move(label, is_fault, target)

    def _all(self, state: State) -> Iterator[Move]:
        if state.stray is not None:
            yield from self._stray(state, state.stray)
        for place, process in enumerate(state.processes):
            if process.is_up:
                yield from self._node(state, place, process)
            elif (back := self._new_identity(state, place)) is not None:
                yield Move(f"N{place} restarts", False, back)
        yield from time_passes(state)
        yield from outside(self._scope, self._rules, state)

    # -- one node

    def _node(self, state: State, place: int, process: Process) -> Iterator[Move]:
        node, chances = state.identities[process.identity], state.chances
        if chances.crashes:
            yield self._crash(state, place, process)
        if not node.is_alive:
            yield from self._come_back(state, place, "finds itself dead")
        elif not node.has_lease:
            renewed = at(state.identities, process.identity, node._replace(has_lease=True))
            yield Move(f"N{place} renews", False, state._replace(identities=renewed))
        if process.flight is None:
            yield from self._reload(state, place, process)
            yield from self._begin_batch(state, place, process)
        elif process.flight.is_unknown:
            yield from self._find_out(state, place, process, process.flight)
        else:
            yield from self._sent(state, place, process, process.flight)
        if node.is_alive and node.has_lease:
            yield from self._reap(state, place, process.identity)

    def _crash(self, state: State, place: int, process: Process) -> Move:
        flight, stray = process.flight, state.stray
        if flight is not None and not flight.is_unknown and stray is None:
            stray = Stray(process.identity, process.batch, flight.nonce, flight.operations)
        gone = Process(False, process.identity, 0, None, (None,) * len(state.rows))
        chances = state.chances._replace(crashes=state.chances.crashes - 1)
        processes = at(state.processes, place, gone)
        return Move(f"N{place} crashes", True, state._replace(processes=processes, stray=stray, chances=chances))

    def _new_identity(self, state: State, place: int) -> State | None:
        if len(state.identities) >= self._scope.identities_max:
            return None
        new = Process(True, len(state.identities), 0, None, (None,) * len(state.rows))
        return state._replace(identities=(*state.identities, Identity()), processes=at(state.processes, place, new))

    def _come_back(self, state: State, place: int, why: str) -> Iterator[Move]:
        if self._rules.new_identity:
            back = self._new_identity(state, place)
            if back is not None:
                yield Move(f"N{place} {why}, and takes a new id", False, back)
            return
        identity = state.processes[place].identity
        revived = at(state.identities, identity, Identity())
        process = Process(True, identity, 0, None, (None,) * len(state.rows))
        same = state._replace(identities=revived, processes=at(state.processes, place, process))
        yield Move(f"N{place} {why}, and goes on under the same id", False, same)

    def _reload(self, state: State, place: int, process: Process) -> Iterator[Move]:
        """A node reads what it owns and does not hold, and the mailboxes of what it holds."""
        for run, held in enumerate(process.held):
            row = state.rows[run]
            if row.owner != process.identity:
                continue
            if held is None and self._rules.compares and row.status == RUNNING:
                read, label = _read(row), f"N{place} reloads its run {run}"
            elif held is not None and len(row.mailbox) > len(held.mailbox):
                read, label = held._replace(mailbox=row.mailbox), f"N{place} reads the mailbox of {run}"
            else:
                continue
            yield Move(label, False, _hold(state, place, process, run, read))

    # -- batches

    def _begin_batch(self, state: State, place: int, process: Process) -> Iterator[Move]:
        own = list(self._own_operations(state, process))
        asks = list(dict.fromkeys(state.chances.unsent))
        for label, operation, body in own:
            yield self._send(state, place, process, label, (operation,), body)
        for ask in asks:
            yield self._send(state, place, process, f"{ask.word} of {ask.run}", (ask,), "")
        if self._scope.pairs:
            for label, operation, body in own:
                for ask in asks[:1]:
                    both = tuple(sorted((operation, ask), key=lambda each: GROUPS.index(type(each))))
                    yield self._send(state, place, process, f"{label} + {ask.word} of {ask.run}", both, body)

    def _own_operations(self, state: State, process: Process) -> Iterator[tuple[str, Operation, str]]:
        node = state.identities[process.identity]
        for run, held in enumerate(process.held):
            row = state.rows[run]
            if held is None:
                if is_claimable(row):
                    yield f"claim of {run}", Claim(run), ""
                continue
            is_late = held.is_late and self._rules.body_minds_deadline
            todo = next_of(self._scope.programs[run], held, self._rules, is_late=is_late, is_hook_late=row.is_hook_late)
            if todo.body and self._rules.lease_check and not (node.is_alive and node.has_lease):
                continue
            yield f"{todo.label} of {run}", _record(run, held, todo), todo.body

    def _send(self, state: State, place: int, process: Process, label: str, operations: tuple[Operation, ...], body: str) -> Move:
        try:
            if body:
                record = operations[0]
                check_body(self._scope.programs[record.run], body, state.rows[record.run])
        except Broken as broken:
            return Move(f"N{place} {label}", False, broken)
        chances = state.chances
        unsent = list(chances.unsent)
        for operation in operations:
            if isinstance(operation, Ask):
                unsent.remove(operation)
        chances = chances._replace(unsent=tuple(unsent), nonce=chances.nonce + self._nonces_matter)
        flight = Flight(False, state.chances.nonce, operations)
        processes = at(state.processes, place, process._replace(flight=flight))
        return Move(f"N{place} {label}", False, state._replace(processes=processes, chances=chances))

    def _commit(self, state: State, identity: int, batch: int, nonce: int, operations: tuple[Operation, ...]) -> Committed | None:
        return commit(
            self._scope.programs, self._rules, (state.identities, state.rows),
            identity=identity, batch=batch, nonce=nonce, operations=operations,
        )  # fmt: skip

    def _past(self, state: State) -> tuple[Any, ...]:
        if not state.chances.failovers:
            return ()
        return (*state.past, (state.identities, state.rows))[-self._scope.depth :]

    def _stray(self, state: State, stray: Stray) -> Iterator[Move]:
        yield Move("the stray batch is dropped", False, state._replace(stray=None))
        try:
            done = self._commit(state, *stray)
        except Broken as broken:
            yield Move("the stray batch is committed", False, broken)
            return
        if done is not None:
            identities, rows = done.store
            after = state._replace(identities=identities, rows=rows, stray=None, past=self._past(state))
            yield Move("the stray batch is committed", False, after)

    def _sent(self, state: State, place: int, process: Process, flight: Flight) -> Iterator[Move]:
        if state.chances.losses and state.stray is None:
            yield self._lose_contact(state, place, process, flight)
        try:
            done = self._commit(state, process.identity, process.batch, flight.nonce, flight.operations)
            if done is None:
                yield from self._come_back(state, place, "is fenced")
                return
            after = self._answered(state, place, process, flight, done)
            check_acknowledged(after.rows, after.chances.acknowledged)
        except Broken as broken:
            yield Move(f"N{place} commits", False, broken)
            return
        yield Move(f"N{place} commits ({', '.join(done.outcomes)})", False, after)

    @staticmethod
    def _lose_contact(state: State, place: int, process: Process, flight: Flight) -> Move:
        stray = Stray(process.identity, process.batch, flight.nonce, flight.operations)
        unknown = process._replace(flight=flight._replace(is_unknown=True))
        chances = state.chances._replace(losses=state.chances.losses - 1)
        after = state._replace(processes=at(state.processes, place, unknown), stray=stray, chances=chances)
        return Move(f"N{place} loses contact", True, after)

    def _answered(self, state: State, place: int, process: Process, flight: Flight, done: Committed) -> State:
        """The node takes in what became of its batch."""
        identities, rows = done.store
        held = list(process.held)
        acknowledged = set(state.chances.acknowledged)
        for operation, outcome in zip(flight.operations, done.outcomes, strict=True):
            run = operation.run
            if isinstance(operation, Ask):
                if outcome == "done":
                    acknowledged.add(operation)
            elif outcome == "refused":
                held[run] = None
            elif outcome == "done":
                known = held[run]
                row = rows[run]
                is_mine = row.owner == process.identity and row.status == RUNNING
                mailbox = known.mailbox if known is not None else row.mailbox
                held[run] = _read(row)._replace(mailbox=mailbox) if is_mine else None
        chances = state.chances._replace(acknowledged=tuple(sorted(acknowledged)))
        process = process._replace(batch=process.batch + 1, flight=None, held=tuple(held))
        return state._replace(
            identities=identities, rows=rows, processes=at(state.processes, place, process), chances=chances,
            past=self._past(state),
        )  # fmt: skip

    def _find_out(self, state: State, place: int, process: Process, flight: Flight) -> Iterator[Move]:
        """A node that has lost contact reads its row: it waits for a transaction that holds it."""
        stray, node = state.stray, state.identities[process.identity]
        if stray is not None and (stray.identity, stray.nonce) == (process.identity, flight.nonce):
            return
        is_mine = node.nonce == flight.nonce or not self._rules.random_batch_id
        if node.batch == process.batch + 1 and is_mine:
            after = self._was_applied(state, place, process, flight)
            try:
                check_acknowledged(after.rows, after.chances.acknowledged)
            except Broken as broken:
                yield Move(f"N{place} learns that its batch was applied", False, broken)
                return
            yield Move(f"N{place} learns that its batch was applied", False, after)
        elif node.batch == process.batch and node.is_alive:
            again = process._replace(flight=flight._replace(is_unknown=False))
            yield Move(f"N{place} sends its batch again", False, state._replace(processes=at(state.processes, place, again)))
        else:
            yield from self._come_back(state, place, "learns that it was fenced")

    def _was_applied(self, state: State, place: int, process: Process, flight: Flight) -> State:
        held = list(process.held)
        acknowledged = set(state.chances.acknowledged)
        for operation in flight.operations:
            run, row = operation.run, state.rows[operation.run]
            if isinstance(operation, Ask):
                if not self._rules.compares or (is_signal(operation.word) and operation.word in row.mailbox):
                    acknowledged.add(operation)
            elif self._rules.compares:
                held[run] = None
            elif isinstance(operation, Record):
                held[run] = _believed(held[run], operation)
        process = process._replace(batch=process.batch + 1, flight=None, held=tuple(held))
        chances = state.chances._replace(acknowledged=tuple(sorted(acknowledged)))
        return state._replace(processes=at(state.processes, place, process), chances=chances)

    # -- reaping, time, the outside

    def _reap(self, state: State, place: int, identity: int) -> Iterator[Move]:
        for other, node in enumerate(state.identities):
            if other != identity and node.is_alive and not node.has_lease:
                buried = at(state.identities, other, node._replace(is_alive=False))
                yield Move(f"N{place} buries id {other}", False, state._replace(identities=buried))
        for run, row in enumerate(state.rows):
            if row.owner is not None and not state.identities[row.owner].is_alive:
                yield self._at_once(state, f"N{place} frees {run}", lambda batch, run=run: batch.free(run))
            if row.deadline == "passed" and not row.is_over:
                yield self._at_once(state, f"N{place} sees that {run} is late", lambda batch, run=run: batch.expire(run))

    def _at_once(self, state: State, label: str, do: Any) -> Move:
        batch = Batch(self._scope.programs, self._rules, state.rows, -1)
        try:
            do(batch)
        except Broken as broken:
            return Move(label, False, broken)
        return Move(label, False, state._replace(rows=tuple(batch.rows), past=self._past(state)))


def _read(row: Row) -> Held:
    return Held(row.turn, len(row.events), visible(row.events), row.mailbox, row.consumed, row.own_from, row.deadline == "passed")


def _hold(state: State, place: int, process: Process, run: int, held: Held) -> State:
    return state._replace(processes=at(state.processes, place, process._replace(held=at(process.held, run, held))))


def _record(run: int, held: Held, todo: Next) -> Record:
    consumed, words = held.consumed, ()
    if todo.transcribed:
        words = ((consumed, held.mailbox[consumed]),)
    return Record(run, held.turn, held.seq, held.history, todo.events, words, consumed + len(words), todo.then)


def _believed(held: Held | None, record: Record) -> Held | None:
    """For the rule left out: a node that believes its batch to have done all that it asked for."""
    if held is None or record.then in ("suspend", "release") or {"completed", "failed", "cancelled"} & set(record.events):
        return None
    seq, history = held.seq + len(record.events), held.history + record.events
    return held._replace(seq=seq, history=history, consumed=record.consumed)
