"""What the engine committed, batch by batch: to know when runs are over, and to let the floor write the same."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from stepwell import AsyncClient
from stepwell.progress import Progress, Recorded
from stepwell.store.base import Batch, Claimed, Committed, NewRun, Operation, Put, Result, Triggered


class Touch(NamedTuple):
    """What a batch did to one run."""

    run_id: str
    seq: int
    """The number of its last event, afterwards."""
    is_new: bool = False
    is_moved: bool = False
    """It changed hands or ended: the indexes of claimable and listed runs change with it."""
    message: tuple[Any, ...] | None = None


class Journal:
    """Listens at the store of a client. It costs one more call a batch."""

    def __init__(self, store: Any) -> None:
        self.calls = 0
        self._batches: list[tuple[Sequence[Operation], list[Result]]] = []
        self._over = 0
        self._awaited = 0
        self._all_over: asyncio.Future[float] | None = None
        self._commit = store.commit
        store.commit = self._listen

    @classmethod
    async def of(cls, client: AsyncClient) -> "Journal":
        """Begin to listen."""
        return cls(getattr(await client.engine(), "store"))  # noqa: B009 - the protocol does not show it, the node has it

    def until_over(self, count: int) -> "asyncio.Future[float]":
        """Return what is done when so many more runs have ended: the moment of the commit of the last, by ``perf_counter``."""
        self._awaited = self._over + count
        self._all_over = asyncio.get_running_loop().create_future()
        return self._all_over

    def batches(self) -> list[list[Touch]]:
        """Return what was committed since the last call."""
        taken, self._batches = self._batches, []
        return [_touches(operations, results) for operations, results in taken]

    async def _listen(self, batch: Batch) -> Committed:
        committed: Committed = await self._commit(batch)
        now = time.perf_counter()
        if batch.operations:
            self._batches.append((batch.operations, committed.results))
            for operation in batch.operations:
                if type(operation) is Progress and operation.final is not None:
                    self._over += 1
            waiting = self._all_over
            if waiting is not None and self._over >= self._awaited and not waiting.done():
                waiting.set_result(now)
        return committed


def _touches(operations: Sequence[Operation], results: Sequence[Result]) -> list[Touch]:
    touches: list[Touch] = []
    for operation, result in zip(operations, results, strict=True):
        if isinstance(operation, NewRun) and isinstance(result, Triggered) and result.row is not None:
            touches.append(Touch(operation.run_id, result.row.seq, is_new=True))
        elif isinstance(operation, Progress) and isinstance(result, Recorded):
            moved = bool(operation.final or operation.consumed or operation.release or (operation.suspend and result.quiet))
            touches.append(Touch(operation.run_id, result.seq, is_moved=moved))
        elif isinstance(operation, Put):
            row = (operation.run_id, result.seq, operation.kind, operation.name, operation.message_id, operation.payload, 0)  # type: ignore[union-attr]
            touches.append(Touch(operation.run_id, 0, is_moved=True, message=row))
        elif isinstance(result, Claimed):
            touches += [Touch(row.run_id, row.seq, is_moved=True) for row in result.rows]
    return touches
