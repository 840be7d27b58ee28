"""What holds for every workflow: over made-up plans, run by a real engine and disturbed on the way."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell import AsyncClient, ConflictError, Run, Settings, WorkflowWorker
from stepwell.engine.claims import assignment_of
from stepwell.execution import tasks
from stepwell.execution.history import TRANSCRIBED
from stepwell.progress import Message, StoredEvent
from stepwell.store.base import History
from tests import postgres
from tests.laws.instant import HANGS_S, Instant, new_events
from tests.laws.plans import (
    SIGNALS,
    Call,
    Child,
    Gather,
    Parallel,
    Plan,
    Race,
    Sequence,
    Signal,
    begun,
    error_of,
    fits,
    law,
    law_child,
    plans,
    signals_in,
    walk,
)

MESSAGES: Final = {transcribed: kind for kind, transcribed in TRANSCRIBED.items()}
"""The kind of message that each type of event transcribes."""
OUTCOMES: Final = {"step_completed", "step_failed", "step_interrupted"}
_numbers: Final = count(1)


class Engine(NamedTuple):
    """A loop, and on it a client with a worker."""

    runner: asyncio.Runner
    client: AsyncClient


@contextmanager
def engine(url: str = "memory://", *, keep_ms: int) -> Iterator[Engine]:
    """Keep an engine on a loop of its own: so many plans are carried out that opening one for each would take longest."""
    shown = Settings(
        waiting_shown_ms=1, step_started_ms=60_000, quarantine_alone=10_000, quarantine_pause=10_000, keep_ms=keep_ms
    )  # fmt: skip
    with asyncio.Runner() as runner:
        client = AsyncClient(url, settings=shown)
        worker = WorkflowWorker(client)
        runner.run(worker.start(law, law_child))
        yield Engine(runner, client)
        runner.run(worker.stop())
        runner.run(client.close())


@pytest.fixture(scope="module")
def keeping() -> Iterator[Engine]:
    """Waiting runs stay in memory."""
    with engine(keep_ms=5_000) as opened:
        yield opened


@pytest.fixture(scope="module")
def evicting() -> Iterator[Engine]:
    """Waiting runs are thrown away at once."""
    with engine(keep_ms=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def on_postgres(postgres_dsn: str) -> Iterator[Engine]:
    """Waiting runs are thrown away at once, and the store is PostgreSQL."""
    with postgres.cleared_schema(postgres_dsn) as url, engine(url, keep_ms=0) as opened:
        yield opened


def names_waited_for(plan: Plan) -> list[str]:
    """Return the name of each wait for a signal."""
    return [part.name for part in walk(plan) if isinstance(part, Signal)]


async def _send(client: AsyncClient, run_id: str, plan: Plan, pauses: list[int]) -> None:
    sent = dict.fromkeys(SIGNALS, 0)
    for name, turns in zip(names_waited_for(plan), pauses * 100, strict=False):
        for _ in range(turns):
            await asyncio.sleep(0)
        try:
            await client.workflow.send_signal(run_id, name, sent[name])
        except ConflictError:
            return  # a race has made this wait needless
        sent[name] += 1


async def _disturb(client: AsyncClient, run_id: str, drops: list[int]) -> None:
    """Take the run from its executor and let it be claimed again, each time after it has moved so often.

    A death without a death: what is not committed is gone, and all goes on from the history.
    """
    node: Any = await client.engine()
    for moves in drops:
        for _ in range(moves):
            await node.watchers.for_move(run_id)
        session = node.holder(run_id)
        if session is None:
            continue
        turn = session.held[run_id].turn
        session.interrupt(run_id, "lost")
        events = await client.workflow.get_events(run_id)
        recorded = {event.step_id for event in events if event.event_type in OUTCOMES}
        before = len(begun.steps)
        _watched.append((run_id, before, recorded))
        await node.hand_back(run_id, turn)
        node.want_runs()


_watched: Final[list[tuple[str, int, set[str | None]]]] = []
"""Which steps of a run were recorded when it was dropped, and how many bodies had begun by then."""


async def carry_out(client: AsyncClient, plan: Sequence, pauses: list[int], drops: list[int]) -> Run[Any]:
    """Run a plan, with its signals sent meanwhile, and disturbed; return the run, which is over."""
    run_id = f"run-{next(_numbers)}"
    begun.steps.clear()
    _watched.clear()
    await client.workflow.trigger(law, msgspec.to_builtins(plan), run_id=run_id)
    disturbing = asyncio.create_task(_disturb(client, run_id, drops))
    sending = asyncio.create_task(_send(client, run_id, plan, pauses))
    waiting = asyncio.create_task(client.workflow.wait(run_id, timeout=HANGS_S))
    try:
        # what goes wrong while sending or disturbing is told at once, not by a run that then hangs
        helping = {sending, disturbing}
        while helping and not waiting.done():
            done, _ = await asyncio.wait({waiting, *helping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & helping:
                task.result()
            helping -= done
        return await waiting
    finally:
        for task in (sending, disturbing, waiting):
            task.cancel()
        await asyncio.gather(sending, disturbing, waiting, return_exceptions=True)


def check_end(plan: Sequence, run: Run[Any]) -> None:
    """Check that a run has ended as its plan says."""
    error = error_of(plan)
    if error is not None:
        assert run.status == "failed"
        assert run.error_details is not None
        assert run.error_details.message == error
    else:
        assert run.status == "completed", run.error
        assert fits(plan, run.output), run.output


def check_bodies(run: Run[Any]) -> None:
    """Check that no recorded step ran again. promise 2."""
    for run_id, before, recorded in _watched:
        again = {step_id for run, step_id, _ in begun.steps[before:] if run == run_id} & recorded
        assert not again, f"{again} were recorded, and began again"
    times = begun.of(run.run_id)
    assert all(times.count(began) <= 1 + len(_watched) for began in times)


async def check_signals(client: AsyncClient, plan: Sequence, run: Run[Any]) -> None:
    """Check that signals came in order, each once. promise 6."""
    events = await client.workflow.get_events(run.run_id)
    for name in SIGNALS:
        received = [event.payload["payload"] for event in events if event.event_type == "signal_received" and event.name == name]
        assert received == list(range(len(received)))
        taken = [number for taken_name, number in signals_in(run.output) if taken_name == name]
        assert len(taken) == len(set(taken))
        if run.status == "completed" and all(_shows_its_signals(part) for part in walk(plan)):
            assert sorted(taken) == received
            if not any(isinstance(part, Parallel | Gather) for part in walk(plan)):
                assert taken == received


def _shows_its_signals(plan: Plan) -> bool:
    return not isinstance(plan, Race) and (error_of(plan) is None or not isinstance(plan, Call | Child))


async def check_over(client: AsyncClient, run: Run[Any]) -> None:
    """Check that nothing changes a run that is over. promise 8."""
    flows = client.workflow
    events = await flows.get_events(run.run_id)
    for refused in (flows.send_signal(run.run_id, "s", 0), flows.emit_event(run.run_id, "noted", 0)):
        with pytest.raises(ConflictError):
            await refused
    assert (await flows.cancel(run.run_id, reason="too late")).status == run.status
    assert not (await flows.trigger(law, run.input, run_id=run.run_id)).created
    now = await flows.get_run(run.run_id)
    assert (now.status, now.output, now.error_details) == (run.status, run.output, run.error_details)
    assert await flows.get_events(run.run_id) == events


async def stored(client: AsyncClient, run_id: str) -> History:
    """Return a run as a worker would load it."""
    node: Any = await client.engine()
    return (await node.store.load([run_id]))[0]


async def check_replay(client: AsyncClient, history: History) -> None:
    """Check that code that is unchanged finds, in its own history, the way to its recorded end; and does nothing else."""
    # promise 5
    events, final = history.events[:-1], history.events[-1]
    assignment = assignment_of(history.row, history._replace(events=events, messages=[]))
    assignment.seq = len(events)
    before = len(begun.steps)
    host = Instant(assignment, client.workflow)
    last = await host.run()
    assert not last.misfit, last.suspend
    assert last.final is not None
    assert (last.final.event.type, last.final.event.payload) == (final.type, final.payload)
    assert new_events(host.recorded) == []
    assert len(begun.steps) == before


async def check_from(client: AsyncClient, plan: Sequence, history: History, cut: int) -> None:
    """Check that any beginning of the history leads to a right end, and that what is in it does not run again."""
    cut = max(2, min(cut, len(history.events) - 1))
    events, missing = history.events[:cut], history.events[cut:-1]
    seen = sum(event.type in MESSAGES for event in events)
    assignment = assignment_of(history.row, history._replace(events=events, messages=[]))
    assignment.seq, assignment.mailbox_consumed = len(events), seen
    before = len(begun.steps)
    host = Instant(assignment, client.workflow, [*_messages(missing), *_more(plan, history.events)])
    last = await host.run()
    assert not last.misfit, last.suspend
    assert last.final is not None
    ended = msgspec.json.decode(last.final.event.payload)
    assert [event for event in new_events(host.recorded) if "inserted" in event.payload] == []
    if error_of(plan) is not None:
        assert ended["error"]["message"] == error_of(plan)
    else:
        assert last.final.event.type == "run_completed"
        assert fits(plan, ended["output"])
    recorded = {event.step_id for event in events if event.type in OUTCOMES}
    assert not recorded & {step_id for _, step_id, _ in begun.steps[before:]}


class _Received(msgspec.Struct, rename="camel"):
    payload: msgspec.Raw
    mailbox_seq: int
    signal_id: str = ""
    message_id: str = ""


def _messages(events: list[StoredEvent]) -> list[Message]:
    read = [(event, msgspec.json.decode(event.payload, type=_Received)) for event in events if event.type in MESSAGES]
    return [
        Message(
            one.mailbox_seq, MESSAGES[event.type], event.name, one.signal_id or one.message_id, bytes(one.payload).decode(),
            event.at_ms,
        )
        for event, one in read
    ]  # fmt: skip


def _more(plan: Sequence, events: list[StoredEvent]) -> list[Message]:
    """Return the signals that were sent too late, or not any more: another way through a race may need them."""
    received = [event.name for event in events if event.type == "signal_received"]
    taken = sum(event.type in MESSAGES for event in events)
    more: list[Message] = []
    for name in SIGNALS:
        for number in range(received.count(name), names_waited_for(plan).count(name)):
            seq = taken + len(more) + 1
            more.append(Message(seq, "signal", name, f"more-{seq}", str(number), 0))
    return more


async def check_all(client: AsyncClient, plan: Sequence, pauses: list[int], drops: list[int], cuts: list[int]) -> None:
    run = await carry_out(client, plan, pauses, drops)
    check_end(plan, run)
    check_bodies(run)
    await check_signals(client, plan, run)
    await check_over(client, run)
    history = await stored(client, run.run_id)
    unwatch = tasks.watch(asyncio.get_running_loop())
    await check_replay(client, history)
    for cut in cuts:
        await check_from(client, plan, history, cut)
    unwatch()


pauses_made_up: Final = st.lists(st.integers(0, 20), min_size=1, max_size=5)
drops_made_up: Final = st.lists(st.integers(1, 4), max_size=4)
cuts_made_up: Final = st.lists(st.integers(2, 40), max_size=3)


@settings(max_examples=200)
@given(plan=plans, pauses=pauses_made_up, drops=drops_made_up, cuts=cuts_made_up)
def test_laws_hold_while_waiting_runs_are_kept(
    keeping: Engine, plan: Sequence, pauses: list[int], drops: list[int], cuts: list[int]
) -> None:
    keeping.runner.run(check_all(keeping.client, plan, pauses, drops, cuts))


@settings(max_examples=200)
@given(plan=plans, pauses=pauses_made_up, drops=drops_made_up, cuts=cuts_made_up)
def test_laws_hold_while_waiting_runs_are_evicted(
    evicting: Engine, plan: Sequence, pauses: list[int], drops: list[int], cuts: list[int]
) -> None:
    evicting.runner.run(check_all(evicting.client, plan, pauses, drops, cuts))


@settings(max_examples=50)
@given(plan=plans, pauses=pauses_made_up, drops=drops_made_up, cuts=cuts_made_up)
def test_laws_hold_on_postgresql(
    on_postgres: Engine, plan: Sequence, pauses: list[int], drops: list[int], cuts: list[int]
) -> None:
    on_postgres.runner.run(check_all(on_postgres.client, plan, pauses, drops, cuts))
