"""Words for tests of stores: a clock to set, a node that commits, and short ways to write operations."""

import asyncio
import itertools
from typing import Any

from stepwell.clock import Clock, boot_id
from stepwell.progress import Final, NewEvent, Progress, StoredEvent, Waiting
from stepwell.store.base import (
    COMPLETED,
    Batch,
    Bury,
    Cancel,
    Claim,
    Claimed,
    Emit,
    Expire,
    Free,
    NewRun,
    Operation,
    Put,
    Result,
    Resume,
    RunQuery,
    RunRow,
    Store,
    Triggered,
)

WORKFLOW = ("orders", "1")
LEASE_MS = 5_000
BY_TAGS = [
    (0, RunQuery(tags=["nothing"])), (20, RunQuery(tags=["tag-7"], limit=20)), (20, RunQuery(tags=["common"], limit=20)),
    (0, RunQuery(tags=["common", "nothing"])), (20, RunQuery(tags=["common", "tag-7"], limit=20)),
    (0, RunQuery(tags=["common"], status=6)), (0, RunQuery(tags=["tag-7", "tag-8"])),
    (20, RunQuery(tags=["common"], workflow="orders", status=5, limit=20)),
    (20, RunQuery(tags=["common"], before=(500, "run-500"), limit=20)), (0, RunQuery(tags=["common"], created_before=1)),
]  # fmt: skip
"""Lists by tags among many runs, for tests of what they cost: how many are found, and what is asked for."""


class SetClock(Clock):
    """A clock that stands still until a test moves it."""

    is_set = True

    def __init__(self) -> None:
        self.wall_ms = 1_000_000
        self.since_boot_ms = 50_000

    def now_ms(self) -> int:
        return self.wall_ms

    def boot_ms(self) -> int:
        return self.since_boot_ms

    def advance(self, ms: int) -> None:
        self.wall_ms += ms
        self.since_boot_ms += ms


class Node:
    """A node in a store, as its committer would drive it."""

    def __init__(self, store: Store, node_id: str, clock: SetClock) -> None:
        self.store = store
        self.node_id = node_id
        self.clock = clock
        self.number = 0
        self.lease_ms: int | None = LEASE_MS

    async def enrol(self, info: str = "{}") -> "Node":
        await self.store.enrol(self.node_id, info)
        return self

    def batch(self, *operations: Operation) -> Batch:
        return Batch(
            node_id=self.node_id,
            number=self.number,
            batch_id=f"{self.node_id}-{self.number}",
            lease_ms=self.lease_ms,
            operations=list(operations),
        )

    async def commit(self, *operations: Operation) -> list[Result]:
        results = (await self.store.commit(self.batch(*operations))).results
        self.number += 1
        return results

    async def do(self, operation: Operation) -> Any:
        """Commit one operation; its result, for tests that know its kind."""
        return (await self.commit(operation))[0]

    async def start(self, run_id: str, **more: Any) -> RunRow:
        """Make a run that this node owns."""
        triggered = await self.do(self.new(run_id, claim=True, **more))
        assert isinstance(triggered, Triggered)
        assert triggered.claimed
        assert triggered.row is not None
        return triggered.row

    async def row(self, run_id: str) -> RunRow:
        stored = await self.store.find_run(run_id)
        assert stored is not None
        return stored.row

    async def history(self, run_id: str) -> list[StoredEvent]:
        return await self.store.events(run_id, 0, 1_000)

    async def types(self, run_id: str) -> list[str]:
        return [event.type for event in await self.history(run_id)]

    def new(self, run_id: str, **more: Any) -> NewRun:
        now = self.clock.now_ms()
        given: dict[str, Any] = {
            "run_id": run_id,
            "workflow": WORKFLOW[0],
            "version": WORKFLOW[1],
            "input_hash": "hash",
            "idempotency_key": None,
            "parent_run_id": None,
            "tags": "[]",
            "priority": 0,
            "at_ms": now,
            "due_ms": now,
            "max_events": 100,
            "timeout_ms": None,
            "created": '{"input":1}',
            "claim": False,
        }
        return NewRun(**(given | more))

    def event(self, name: str = "work", type: str = "step_completed") -> NewEvent:
        return NewEvent(type, name, name, '{"result":1}', self.clock.now_ms())

    def final(self, status: int = COMPLETED, type: str = "run_completed") -> Final:
        return Final(status, NewEvent(type, "", "", '{"output":2}', self.clock.now_ms()))

    def progress(self, run_id: str, *events: NewEvent, turn: int = 1, consumed_to: int = 0, **more: Any) -> Progress:
        return Progress(run_id=run_id, turn=turn, events=list(events), mailbox_consumed=consumed_to, **more)

    def suspend(self, run_id: str, *, until_ms: int | None = None, turn: int = 1, consumed_to: int = 0) -> Progress:
        waiting = Waiting('{"kind":"sleep"}', until_ms)
        return self.progress(run_id, turn=turn, consumed_to=consumed_to, suspend=waiting)

    def put(self, run_id: str, message_id: str = "m1", name: str = "go") -> Put:
        return Put(run_id=run_id, kind="signal", name=name, message_id=message_id, payload='"yes"', at_ms=self.clock.now_ms())

    def emit(self, run_id: str, event_id: str = "e1", event_type: str = "seen") -> Emit:
        return Emit(run_id=run_id, event_type=event_type, event_id=event_id, payload="1", at_ms=self.clock.now_ms())

    def cancel(self, run_id: str) -> Cancel:
        return Cancel(run_id=run_id, reason="no", payload='{"reason":"no"}', at_ms=self.clock.now_ms())

    def resume(self, run_id: str) -> Resume:
        return Resume(run_id=run_id, payload="{}", at_ms=self.clock.now_ms())

    def claim(self, *workflows: tuple[str, str], limit: int = 10, alone_from: int = 3, alone_max: int = 1) -> Claim:
        return Claim(
            workflows=workflows or (WORKFLOW,),
            limit=limit,
            alone_from=alone_from,
            alone_max=alone_max,
            at_ms=self.clock.now_ms(),
        )

    async def claimed(self, *workflows: tuple[str, str], **more: Any) -> list[str]:
        """Claim, and return the ids in order."""
        result = await self.do(self.claim(*workflows, **more))
        assert isinstance(result, Claimed)
        return [row.run_id for row in result.rows]

    def bury(self, *known_dead: str) -> Bury:
        return Bury(known_dead=known_dead, boot_ms=self.clock.boot_ms(), boot_id=boot_id())

    def free(self, *, limit: int = 100, pause_at: int = 5, workflows: tuple[tuple[str, str], ...] = (WORKFLOW,)) -> Free:
        return Free(limit=limit, workflows=workflows, pause_at=pause_at, at_ms=self.clock.now_ms())

    def expire(self, *, limit: int = 100, owned_after_ms: int = LEASE_MS) -> Expire:
        return Expire(limit=limit, owned_after_ms=owned_after_ms, at_ms=self.clock.now_ms())


_names = itertools.count(1)


async def another(node: Node) -> Node:
    """Enrol one more node in the same store."""
    return await Node(node.store, f"another-{next(_names)}", node.clock).enrol()


async def waits_for(holder: Any, spy: Any) -> None:
    """Return when somebody waits for what a connection to PostgreSQL has locked. ``spy`` is one that is in no transaction."""
    pid = holder.get_server_pid()
    while not await spy.fetchval("SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))", pid):
        await asyncio.sleep(0.002)
