"""Threads that work for an event loop."""

import asyncio
import threading

import pytest

from stepwell.store.lanes import Lane


async def test_work_is_done_in_order_and_answers_come_back_to_the_loop():
    lane = Lane("lane", ["resource"])
    done: list[int] = []
    answers = [lane.call(lambda resource, n=n: (done.append(n), resource, n)[1:]) for n in range(50)]  # type: ignore[misc]
    assert await asyncio.gather(*answers) == [("resource", n) for n in range(50)]
    assert done == list(range(50))
    assert await asyncio.to_thread(lane.stop, 60)


async def test_what_work_raises_is_raised_where_it_is_awaited_and_the_next_is_done():
    lane = Lane("lane", [None])
    with pytest.raises(ZeroDivisionError):
        await lane.call(lambda _: 1 / 0)
    assert await lane.call(lambda _: 1) == 1
    assert await asyncio.to_thread(lane.stop, 60)


async def test_an_answer_that_nobody_waits_for_any_more_is_dropped():
    lane = Lane("lane", [None])
    gate = threading.Event()
    forgotten = lane.call(lambda _: gate.wait(60))
    forgotten.cancel()
    gate.set()
    assert await lane.call(lambda _: "next") == "next"
    assert await asyncio.to_thread(lane.stop, 60)


async def test_rest_is_called_after_work_and_when_its_time_is_over():
    seen: list[bool] = []
    idle = asyncio.Event()
    loop = asyncio.get_running_loop()

    def rest(_: None, is_idle: bool) -> float | None:
        seen.append(is_idle)
        if is_idle:
            loop.call_soon_threadsafe(idle.set)
        return None if is_idle else 0.001

    lane = Lane("lane", [None], rest)
    await lane.call(lambda _: None)
    await idle.wait()
    assert seen == [False, True]
    assert await asyncio.to_thread(lane.stop, 60)


async def test_a_rest_that_fails_is_logged_and_the_thread_lives_on(caplog: pytest.LogCaptureFixture):
    def rest(_: None, is_idle: bool) -> float | None:
        raise OSError("no")

    lane = Lane("lane", [None], rest)
    assert await lane.call(lambda _: 1) == 1
    assert await lane.call(lambda _: 2) == 2
    assert "lane: what is done between its work failed" in caplog.text
    assert await asyncio.to_thread(lane.stop, 60)


async def test_what_is_no_exception_ends_the_thread_without_an_answer():
    lane = Lane("lane", [None])
    threads = list(lane._threads)

    def die(_: None) -> None:
        raise SystemExit

    unanswered = lane.call(die)
    await asyncio.to_thread(threads[0].join, 60)
    assert not threads[0].is_alive()
    await asyncio.sleep(0)
    assert not unanswered.done()
    unanswered.cancel()
