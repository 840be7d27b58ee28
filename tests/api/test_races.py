"""Races: many clients, of one process and of two on one file, ask for the same thing at once. One wins, the others are told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from stepwell import AsyncClient, ConflictError, Context, Run, Settings, step, workflow
from tests.api.tools import events_of, ran, waits_for

CALLERS = 20
WITHIN_S = 30
_failing: set[str] = set()


@workflow("raced")
async def raced(ctx: Context) -> str:
    async def body() -> str:
        if ctx.run_id in _failing:
            raise ValueError("broken")
        return "done"

    return await step("only", body)()


@workflow("raced-waiting")
async def waiting(ctx: Context) -> Any:
    return await ctx.wait_for_signal("go")


@pytest.fixture
def settings() -> Settings:
    """Each of the two clients may look after the other's runs."""
    return Settings(waiting_shown_ms=1)


@pytest.fixture
async def clients(client: AsyncClient, url: str, settings: Settings) -> AsyncIterator[Sequence[AsyncClient]]:
    """As many clients as the kind of store can have: two on a file or a server, one on memory."""
    if url.startswith("memory"):
        yield [client]
        return
    async with AsyncClient(url, settings=settings) as other:
        yield [client, other]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    _failing.clear()


def won(answers: Sequence[Any]) -> list[Run[Any]]:
    """Return those who won; the others were told of a conflict, and of nothing else."""
    lost = [answer for answer in answers if not isinstance(answer, Run)]
    assert all(isinstance(answer, ConflictError) for answer in lost), lost
    return [answer for answer in answers if isinstance(answer, Run)]


async def failed(clients: Sequence[AsyncClient], run_id: str) -> None:
    """Make a run that has failed, and would not again."""
    _failing.add(run_id)
    async with clients[0].worker(raced):
        assert (await ran(clients[0], raced, run_id=run_id)).status == "failed"
    _failing.clear()


async def test_of_many_who_retry_a_run_one_wins(clients: Sequence[AsyncClient]):
    for turn in range(3):
        run_id = f"retried-{turn}"
        await failed(clients, run_id)
        calls = [clients[n % len(clients)].workflow.retry(run_id) for n in range(CALLERS)]
        assert len(won(await asyncio.gather(*calls, return_exceptions=True))) == 1
        assert [event.payload["attempt"] for event in await events_of(clients[0], run_id, "run_resumed")] == [2]
        async with clients[-1].worker(raced):
            assert await clients[0].workflow.result(run_id, WITHIN_S) == "done"


async def test_of_a_retry_and_a_cancel_the_retry_wins_or_the_run_stays_failed(clients: Sequence[AsyncClient]):
    # promise 8: a run that is over is not cancelled; one that was retried is, and is not retried again.
    for turn in range(5):
        run_id = f"both-{turn}"
        await failed(clients, run_id)
        first, last = clients[0].workflow, clients[-1].workflow
        calls = [first.retry(run_id), last.cancel(run_id)] if turn % 2 else [last.cancel(run_id), first.retry(run_id)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, Run) for answer in answers), answers
        run = await first.get_run(run_id)
        ends = [event.event_type for event in await first.get_events(run_id)]
        cancelled = [answer for answer in answers if isinstance(answer, Run) and answer.status == "cancelled"]
        if run.status == "cancelled":
            assert cancelled
            assert ends.count("run_cancelled") == 1
            with pytest.raises(ConflictError):
                await first.retry(run_id)
        else:
            async with clients[0].worker(raced):
                assert await first.result(run_id, WITHIN_S) == "done"


async def test_of_many_who_resume_a_run_one_wins(clients: Sequence[AsyncClient]):
    run_id = "resumed"
    async with clients[0].worker(waiting):
        await clients[0].workflow.trigger(waiting, run_id=run_id)
        await waits_for(clients[0], run_id, "signal")
    await clients[0].workflow.pause(run_id)
    calls = [clients[n % len(clients)].workflow.resume(run_id) for n in range(CALLERS)]
    assert len(won(await asyncio.gather(*calls, return_exceptions=True))) == 1
    assert len(await events_of(clients[0], run_id, "run_resumed")) == 1


async def test_many_who_pause_or_cancel_a_run_agree(clients: Sequence[AsyncClient]):
    flows = [client.workflow for client in clients]
    await flows[0].trigger(waiting, run_id="paused")
    paused = await asyncio.gather(*(flows[n % len(flows)].pause("paused") for n in range(CALLERS)))
    assert {run.status for run in paused} == {"paused"}
    assert len(await events_of(clients[0], "paused", "run_paused")) == 1
    cancelled = await asyncio.gather(*(flows[n % len(flows)].cancel("paused", reason=str(n)) for n in range(CALLERS)))
    assert {run.status for run in cancelled} == {"cancelled"}
    assert len({run.cancel_reason for run in cancelled}) == 1
    assert len(await events_of(clients[0], "paused", "run_cancelled")) == 1


async def test_of_many_forks_under_one_id_one_is_made(clients: Sequence[AsyncClient]):
    run_id = "forked"
    async with clients[0].worker(waiting):
        await clients[0].workflow.trigger(waiting, run_id=run_id)
        await waits_for(clients[0], run_id, "signal")
        calls = [clients[n % len(clients)].workflow.fork(run_id, run_id="fork") for n in range(CALLERS)]
        made = won(await asyncio.gather(*calls, return_exceptions=True))
        assert len(made) == CALLERS
        assert sum(run.created for run in made) == 1
        assert len(await events_of(clients[0], "fork", "run_forked")) == 1


async def test_a_run_is_forked_while_it_is_signalled_retried_and_cancelled(clients: Sequence[AsyncClient]):
    flows = [client.workflow for client in clients]
    async with clients[0].worker(waiting), clients[-1].worker(raced):
        for turn in range(3):
            run_id = f"busy-{turn}"
            await flows[0].trigger(waiting, run_id=run_id)
            forking = [flows[n % len(flows)].fork(run_id) for n in range(CALLERS)]
            ending = flows[-1].cancel(run_id) if turn % 2 else flows[-1].send_signal(run_id, "go", turn)
            answers = await asyncio.gather(*forking[:10], ending, *forking[10:], return_exceptions=True)
            forks = [answer for answer in answers if isinstance(answer, Run) and answer.run_id != run_id]
            assert len(forks) == CALLERS, answers
            for fork in forks:
                events = await flows[0].get_events(fork.run_id)
                assert [event.seq for event in events] == list(range(1, len(events) + 1))
                if not any(event.event_type == "signal_received" for event in events):
                    await flows[0].send_signal(fork.run_id, "go", turn)
                assert await flows[0].result(fork.run_id, WITHIN_S) == turn
