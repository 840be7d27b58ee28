"""One name for states that differ only in numbers that nobody compares but with each other."""

from collections.abc import Callable

from tests.model.words import Flight, Operation, Record, State, Store, Stray


def canonical(state: State, *, nonces_matter: bool) -> State:
    """Count turns and batches from where the store stands, and nonces in the order in which they occur."""
    names: dict[int, int] = {}
    turns = [row.turn for row in state.rows]
    batches = [node.batch for node in state.identities]

    def named(nonce: int) -> int:
        return names.setdefault(nonce, len(names) + 1) if nonces_matter else 0

    def from_here(operation: Operation) -> Operation:
        return operation._replace(turn=operation.turn - turns[operation.run]) if isinstance(operation, Record) else operation

    def flown(flight: Flight | None) -> Flight | None:
        if flight is None:
            return None
        return Flight(flight.is_unknown, named(flight.nonce), tuple(map(from_here, flight.operations)))

    identities = tuple(
        node._replace(batch=0, nonce=named(node.nonce), has_lease=node.has_lease and node.is_alive) for node in state.identities
    )  # fmt: skip
    processes = tuple(
        process._replace(
            batch=process.batch - batches[process.identity] if process.is_up else 0,
            flight=flown(process.flight),
            held=tuple(held and held._replace(turn=held.turn - turns[run]) for run, held in enumerate(process.held)),
        )
        for process in state.processes
    )
    stray = state.stray
    if stray is not None:
        operations = tuple(map(from_here, stray.operations))
        stray = Stray(stray.identity, stray.batch - batches[stray.identity], named(stray.nonce), operations)
    past = tuple(_then(store, turns, batches, named) for store in state.past)
    rows = tuple(row._replace(turn=0) for row in state.rows)
    chances = state.chances._replace(nonce=len(names) + 1)
    return State(identities, rows, processes, stray, chances, past)


def _then(store: Store, turns: list[int], batches: list[int], named: Callable[[int], int]) -> Store:
    identities, rows = store
    nodes = tuple(
        node._replace(batch=node.batch - batches[place], nonce=named(node.nonce)) for place, node in enumerate(identities)
    )
    return nodes, tuple(row._replace(turn=row.turn - turns[place]) for place, row in enumerate(rows))
