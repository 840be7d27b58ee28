"""Counts for show: exact while there are few runs, as of a moment ago once there are many."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from stepwell.engine.counting import FEW, RunCounts
from stepwell.errors import UnavailableError


class Store:
    """Counts slowly, by a clock that it moves itself."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.now_ms = 1_000_000
        self.asked = 0
        self.is_gone = False
        self.behind: list[asyncio.Task[object]] = []
        self.counts = RunCounts(self.count, lambda: self.now_ms, self.later)

    async def count(self) -> dict[int, int]:
        self.asked += 1
        await asyncio.sleep(0)
        self.now_ms += 50
        if self.is_gone:
            raise UnavailableError("gone")
        return {3: self.runs}

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        self.behind.append(asyncio.ensure_future(work))

    async def all_done(self) -> None:
        await asyncio.gather(*self.behind, return_exceptions=True)


async def test_few_are_counted_each_time():
    store = Store(FEW - 1)
    assert await store.counts.get() == {3: FEW - 1}
    store.runs = FEW
    assert await store.counts.get() == {3: FEW}
    assert store.behind == []


async def test_many_are_shown_as_they_were_and_counted_again_behind_that_after_a_hundred_times_as_long():
    store = Store(FEW + 1)
    assert await store.counts.get() == {3: FEW + 1}
    store.runs += 1
    store.now_ms += 4_999
    assert await store.counts.get() == {3: FEW + 1}
    assert store.asked == 1
    store.now_ms += 1
    assert await store.counts.get() == {3: FEW + 1}, "nobody waits for the count"
    assert await store.counts.get() == {3: FEW + 1}
    await store.all_done()
    assert await store.counts.get() == {3: FEW + 2}
    assert store.asked == 2, "one count for all who ask meanwhile"


async def test_who_asks_long_after_the_last_count_waits_for_a_new_one():
    store = Store(FEW + 1)
    await store.counts.get()
    store.runs += 1
    store.now_ms += 65_000
    assert await store.counts.get() == {3: FEW + 2}
    assert store.behind == []


async def test_a_count_that_fails_is_made_again_and_told_to_who_waits_for_it():
    store = Store(FEW + 1)
    store.is_gone = True
    with pytest.raises(UnavailableError):
        await store.counts.get()
    store.is_gone = False
    await store.counts.get()
    store.is_gone = True
    store.now_ms += 5_000
    assert await store.counts.get() == {3: FEW + 1}
    await store.all_done()
    store.is_gone = False
    store.runs += 1
    await store.counts.get()
    await store.all_done()
    assert await store.counts.get() == {3: FEW + 2}
