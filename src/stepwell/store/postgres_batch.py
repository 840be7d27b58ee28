"""The transaction of a batch: what its execution asks for, carried out on a connection to PostgreSQL.

Requests that come together are sent as one statement. So a batch costs a handful of turns, whatever its size: its beginning, its
identity, its locks, what else it must know, what it writes, the commit. Where nothing is asked before something is written, the
identity and what is written are one.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, TypeVar

import msgspec

from stepwell.errors import FencedError
from stepwell.failpoints import counters, failpoint
from stepwell.store.base import Batch, DataRefused
from stepwell.store.drafts import Draft
from stepwell.store.plans import Ask, Change, Get, Lock, Parameter, Plan, Request, Write, to_json
from stepwell.store.postgres_capabilities import LOCKING, Capabilities
from stepwell.store.postgres_rows import Speech, changed
from stepwell.store.postgres_wire import Wire

T = TypeVar("T")

_SHORTEST_LIMIT_MS: Final = 100

# Plans are kept, and those made while a table was small must do when it is not.
PLANNING: Final = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; "
)


def beginning(lease_ms: int, *, must_sync: bool) -> str:
    """Return what begins the transaction of a batch. A node that is frozen in it must not hold the rows of others for a lease."""
    limit_ms = max(_SHORTEST_LIMIT_MS, lease_ms * 3 // 4)
    limits = (
        f"SET LOCAL statement_timeout = {limit_ms}; SET LOCAL lock_timeout = {limit_ms * 2 // 3}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {limit_ms}; "
    )
    return f"BEGIN ISOLATION LEVEL READ COMMITTED; {'SET LOCAL synchronous_commit = on; ' * must_sync}{limits}{PLANNING}"


class _Written:
    """How much a transaction has written, where the database has a limit."""

    def __init__(self, has: Capabilities) -> None:
        self._has = has
        self._rows = 0
        self._bytes = 0

    def add(self, rows: int, texts: Sequence[Parameter]) -> None:
        self._rows += rows
        if self._has.bytes_max:
            self._bytes += sum(len(text.encode()) for text in texts if isinstance(text, str))
        for name, limit, count in (("rows_max", self._has.rows_max, self._rows), ("bytes_max", self._has.bytes_max, self._bytes)):
            if limit and count > limit:
                raise DataRefused(f"one transaction would write more than {name}={limit} of the address allows")


class Transaction:
    """The transaction of one batch on one connection. The commit is left to others.

    Args:
        beginning: The text that begins it; empty if that was done ahead.
    """

    def __init__(self, wire: Wire, speech: Speech, batch: Batch, beginning: str) -> None:
        self._wire = wire
        self._speech = speech
        self._batch = batch
        self._beginning = beginning
        self._has_identity = False
        self._written = _Written(speech.has)

    async def carry_out(self, plan: Plan[T]) -> T:
        """Carry out a plan to its end.

        Raises:
            FencedError: The node is not alive, or not at this batch.
            DataRefused: It writes more than the database takes in one transaction.
        """
        begun = asyncio.ensure_future(self._wire.execute(self._beginning)) if self._beginning else None
        try:
            try:
                if begun is not None:
                    await asyncio.sleep(0)  # it is on its way, and meanwhile what comes first is worked out
                requests = next(plan)
            finally:
                if begun is not None:
                    await begun
            failpoint("commit.before_write")
            while True:
                requests = plan.send(await self._answers(requests))
        except StopIteration as end:
            await self._identify()
            result: T = end.value
            return result

    def _identity(self) -> tuple[Parameter, ...]:
        """Return the parameters of ``begin_batch``."""
        batch = self._batch
        return batch.batch_id, batch.lease_ms, batch.node_id, batch.number

    async def _identify(self) -> None:
        """Give the identity: only a live node whose last batch is the one before may commit. Its lease is renewed."""
        if self._has_identity:
            return
        self._has_identity = True
        if changed(await self._wire.execute(self._speech.text("begin_batch"), *self._identity())) != 1:
            counters["store.fenced"] += 1
            raise FencedError(f"node {self._batch.node_id} is not alive, or not at batch {self._batch.number}")

    async def _answers(self, requests: Sequence[Request]) -> list[Any]:
        writes = [each for each in requests if isinstance(each, Write)]
        if not self._has_identity and len(writes) == len(requests) and writes[0].table.is_counted:
            return await self._identify_and_write(writes)
        await self._identify()
        answers: list[Any] = []
        for kind, group in groupby(requests, type):
            together = list(group)
            if kind is Ask:
                answers += await self._ask([each for each in together if isinstance(each, Ask)])
            elif kind is Write:
                answers += await self._write([each for each in together if isinstance(each, Write)])
            else:
                for request in together:
                    answers.append(await self._one(request))
        return answers

    async def _identify_and_write(self, writes: list[Write]) -> list[Any]:
        """Give the identity, and write all of this, in one turn. Without the identity nothing counts as written."""
        self._has_identity = True
        names, parameters = self._together(writes)
        return _counted(writes, await self._wire.execute(self._speech.identified(names), *self._identity(), *parameters))

    async def _ask(self, questions: list[Ask]) -> list[Any]:
        for question in questions:
            await self._touch(question.name, question.parameters)
        text = self._speech.questions(tuple(question.name for question in questions))
        rows = await self._wire.fetch(text, *(each for question in questions for each in question.parameters))
        return [msgspec.json.decode(answer, type=question.kind) for question, answer in zip(questions, rows[0], strict=True)]

    async def _touch(self, name: str, parameters: Sequence[Parameter]) -> None:
        if name in LOCKING and not self._speech.has.multi_row_for_update:
            await self._wire.execute(self._speech.text(LOCKING[name]), *parameters)

    async def _write(self, writes: list[Write]) -> list[int | None]:
        wanted = [write for write in writes if write.rows]
        tag = ""
        for portion in [wanted] if self._speech.has.data_modifying_cte else [[write] for write in wanted]:
            names, parameters = self._together(portion)
            if portion and portion[0].table.is_counted:
                tag = await self._wire.execute(self._speech.counted(names), *parameters)
            elif names:
                text = self._speech.text(names[0]) if len(names) == 1 else self._speech.writes(names)
                await self._wire.execute(text, *parameters)
        return _counted(writes, tag)

    def _together(self, writes: Sequence[Write]) -> tuple[tuple[str, ...], list[Parameter]]:
        parameters: list[Parameter] = []
        for write in writes:
            parameters.append(to_json(write.rows))
            parameters += write.more
        self._written.add(sum(len(write.rows) for write in writes), parameters)
        return tuple(write.table.name for write in writes), parameters

    async def _one(self, request: Request) -> Any:
        match request:
            case Lock(run_ids, ending):
                parameters = (to_json(run_ids), to_json(ending))
                await self._touch("drafts", parameters)
                answer = await self._wire.fetchval(self._speech.text("drafts"), *parameters)
                return msgspec.json.decode(answer, type=list[Draft])
            case Get(name, parameters):
                return await self._wire.fetchval(self._speech.text(name), *parameters)
            case Change(name, parameters):
                return changed(await self._wire.execute(self._speech.text(name), *parameters))
            case Ask() | Write():
                raise AssertionError("asked and written together")


def _counted(writes: Sequence[Write], tag: str) -> list[int | None]:
    """Return the answers to writes that came together: a number for one whose rows are counted, which is the first."""
    return [changed(tag) if write.table.is_counted else None for write in writes]
