"""What nodes on PostgreSQL tell each other of their commits."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from stepwell.settings import Settings
from stepwell.store.base import Operation, Pause
from stepwell.store.hints import ANYTHING, EVENTS, Hint
from stepwell.store.postgres import PostgresStore
from tests.postgres import sql
from tests.store.acting import WORKFLOW, Node, SetClock


class Hearing:
    """A store that listens, and what it has heard."""

    def __init__(self, url: str, clock: SetClock) -> None:
        self.store = PostgresStore(url, clock=clock, settings=Settings(watch_ms=1))
        self._heard: asyncio.Queue[Hint] = asyncio.Queue()

    async def open(self) -> None:
        await self.store.open()
        self.store.watch(self._heard.put_nowait)
        assert await self.next() == ANYTHING  # once when it begins to listen

    async def next(self) -> Hint:
        return await self._heard.get()


@pytest.fixture
async def ears(cleared_url: str, clock: SetClock) -> AsyncIterator[list[Hearing]]:
    ears = [Hearing(cleared_url, clock) for _ in range(2)]
    for each in ears:
        await each.open()
    yield ears
    for each in ears:
        await each.store.close()


@pytest.fixture
async def nodes(ears: list[Hearing], clock: SetClock) -> list[Node]:
    """Two nodes; the first owns ``mine``, the second ``theirs``, and what they have said so far is heard."""
    nodes = [await Node(each.store, f"node-{place}", clock).enrol() for place, each in enumerate(ears)]
    await nodes[0].start("mine")
    assert await ears[1].next() == EVENTS
    await nodes[1].start("theirs")
    assert await ears[0].next() == EVENTS
    return nodes


def _said(**what: object) -> Hint:
    return msgspec.structs.replace(EVENTS, **what)


_SAYS: dict[str, tuple[Callable[[Node], Operation], Hint]] = {
    "a step of its own run": (lambda node: node.progress("mine", node.event()), EVENTS),
    "the end of its own run": (lambda node: node.progress("mine", final=node.final()), _said(has_ended=True)),
    "a run that sleeps": (lambda node: node.suspend("mine", until_ms=node.clock.now_ms() + 5_000), EVENTS),
    "a run that is handed back": (lambda node: node.progress("mine", release=True), _said(lanes=None)),
    "a run that it executes itself": (lambda node: node.new("new", claim=True), EVENTS),
    "a run for whoever has room": (lambda node: node.new("new"), _said(lanes=frozenset({WORKFLOW}))),
    "a run for later": (lambda node: node.new("new", due_ms=node.clock.now_ms() + 5_000), _said(is_later=True)),
    "a signal for a run of the other": (lambda node: node.put("theirs"), _said(owners=frozenset({"node-1"}))),
    "an event in a run of the other": (lambda node: node.emit("theirs"), EVENTS),
    "a pause of a run of the other": (
        lambda node: Pause(run_id="theirs", reason="asked", at_ms=node.clock.now_ms()), _said(owners=frozenset({"node-1"})),
    ),
    "a cancelled run of the other": (
        lambda node: node.cancel("theirs"), _said(owners=frozenset({"node-1"}), has_ended=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(_SAYS))
async def test_a_hint_tells_for_whom_there_is_something_to_do(nodes: list[Node], ears: list[Hearing], what: str):
    does, says = _SAYS[what]
    await nodes[0].do(does(nodes[0]))
    assert await ears[1].next() == says


async def test_a_signal_for_a_run_that_nobody_owns_makes_it_due(nodes: list[Node], ears: list[Hearing]):
    await nodes[0].do(nodes[0].suspend("mine"))
    await ears[1].next()
    await nodes[1].do(nodes[1].put("mine"))
    assert await ears[0].next() == _said(lanes=None)


async def test_a_node_without_workers_tells_of_times_because_it_does_not_keep_them(nodes: list[Node], ears: list[Hearing]):
    nodes[0].lease_ms = None
    await nodes[0].do(nodes[0].suspend("mine", until_ms=nodes[0].clock.now_ms() + 5_000))
    assert await ears[1].next() == _said(is_later=True)


async def test_a_hint_that_would_be_too_long_says_anything(nodes: list[Node], ears: list[Hearing]):
    await nodes[0].commit(*(nodes[0].new(f"new-{place}", workflow=f"{place:04}" * 50) for place in range(100)))
    assert await ears[1].next() == ANYTHING


async def test_what_another_release_says_means_anything(cleared_url: str, nodes: list[Node], ears: list[Hearing]):
    channel = sql(cleared_url, "SELECT 'stepwell_' || current_schema()")[0][0]
    for letter in ("0123456789abcdef", '["another", [], 1]', "12"):
        sql(cleared_url, f"SELECT pg_notify('{channel}', '{letter}')")
        assert await ears[0].next() == ANYTHING
