"""What a client asks of a server: in batches, over connections that fail, and of a server that is not there."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from stepwell import AsyncClient, Client, ConflictError, Context, Run, Settings, UnavailableError, ValidationError, workflow
from stepwell.client.requests import trigger_request
from stepwell.engine.api import TriggerRequest
from stepwell.progress import Assignment, Held, Message, Outcome, Progress
from stepwell.server.serving import listen
from tests.api.tools import types_of
from tests.background import Background
from tests.proxy import Proxy


@workflow("remote-nothing")
async def nothing(ctx: Context) -> None:
    """Nobody gets so far."""


def wanted(run_id: str, input: Any = None) -> TriggerRequest:
    return trigger_request(
        "many", input, Settings(), run_id=run_id, idempotency_key=None, parent_run_id=None, tags=None, priority=0, delay=None,
        start_at=None, max_events=None, execution_timeout=None, version=None,
    )  # fmt: skip


async def test_many_are_triggered_at_once_and_each_has_an_answer_of_its_own(direct: AsyncClient):
    engine = await direct.engine()
    await engine.trigger(wanted("taken", 1))
    results = await engine.trigger_many([wanted("taken", 2), *(wanted(f"run-{n}", n) for n in range(1_500)), wanted("taken", 1)])
    assert len(results) == 1_502
    assert isinstance(results[0], ConflictError)
    runs = [result for result in results[1:] if isinstance(result, Run)]
    assert [(run.run_id, run.input, run.created) for run in runs[:2]] == [("run-0", 0, True), ("run-1", 1, True)]
    assert (runs[-1].run_id, runs[-1].created) == ("taken", False)


async def test_a_trigger_whose_answer_was_lost_makes_one_run(client: AsyncClient, direct: AsyncClient, proxy: Proxy):
    # promise 1, trap 1
    proxy.cut_answer(b"only-once")
    run = await client.workflow.trigger("nobody", run_id="only-once")
    assert (run.run_id, proxy.cuts) == ("only-once", 1)
    assert await types_of(direct, "only-once") == ["run_created"]


async def test_a_signal_whose_answer_was_lost_is_one_signal(client: AsyncClient, direct: AsyncClient, proxy: Proxy):
    # promise 6
    await direct.workflow.trigger("nobody", run_id="r")
    proxy.cut_answer(b"only-once")
    await client.workflow.send_signal("r", "go", "only-once")
    assert proxy.cuts == 1
    await client.workflow.emit_event("r", "noted", 1)
    assert await types_of(direct, "r") == ["run_created", "noted"]


async def test_what_is_not_safe_is_not_asked_twice(client: AsyncClient, direct: AsyncClient, proxy: Proxy):
    await direct.workflow.trigger("nobody", run_id="r")
    await direct.workflow.pause("r")
    proxy.cut_answer(b"PATCH")
    with pytest.raises(UnavailableError, match=r"PATCH .*tried once .*not known whether it was done") as refused:
        await client.workflow.resume("r")
    assert not refused.value.outcome_known


async def test_a_live_history_goes_on_over_another_connection(client: AsyncClient, direct: AsyncClient, proxy: Proxy):
    await direct.workflow.trigger("nobody", run_id="r")
    heard: list[int] = []

    async def listen_to() -> None:
        heard.extend([event.seq async for event in client.workflow.stream_events("r")])

    listening = asyncio.create_task(listen_to())
    for n in range(5):
        await direct.workflow.emit_event("r", "noted", n)
        proxy.cut()
    await direct.workflow.cancel("r")
    await listening
    assert heard == list(range(1, 8))


async def test_a_server_that_is_not_there_is_told_with_what_was_tried():
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()
    async with AsyncClient(url, settings=Settings(patience_ms=200)) as client:
        with pytest.raises(UnavailableError, match=r"tried \d+ times in .*; nothing was done") as refused:
            await client.workflow.trigger("nobody")
        assert refused.value.outcome_known
        with pytest.raises(UnavailableError, match="no worker's connection"):
            async with client.worker(nothing):
                pass


@pytest.mark.parametrize("url", ["http://", "http://u:p@host", "http://host?x=1", "https://host#x"])
async def test_a_url_that_is_no_servers_is_refused(url: str):
    with pytest.raises(ValidationError) as refused:
        AsyncClient(url)
    assert refused.value.field == "url"


def test_the_blocking_client_works_on_a_server(server: Background):
    with Client(server.url) as client:
        run = client.workflow.trigger("nobody", [1])
        assert client.workflow.get_run(run.run_id).input == [1]
        assert client.workflow.cancel(run.run_id).status == "cancelled"


class _Taker:
    """A worker of one place, which drops what it is given."""

    run_id, turn, deadline_ms = "", 0, None
    retention: ClassVar[dict[tuple[str, str], int]] = {}

    def __init__(self) -> None:
        self.taken: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def room(self) -> int:
        return 1

    def assigned(self, assignment: Assignment) -> Held:
        self.run_id, self.turn = assignment.run_id, assignment.turn
        self.taken.set_result(assignment.run_id)
        return self

    def take(self) -> Progress | None:
        return None

    def settled(self, outcome: Outcome) -> None: ...

    def deliver(self, messages: Sequence[Message]) -> None: ...

    def drain(self) -> None: ...

    def interrupt(self, reason: str) -> None: ...


async def test_nothing_is_assigned_before_the_worker_has_its_session(direct: AsyncClient):
    worker = _Taker()
    session = await (await direct.engine()).work([nothing.key], worker)
    await direct.workflow.trigger(nothing, run_id="early")
    for _ in range(50):  # a server that thinks there is room is quicker
        assert (await direct.workflow.get_run("early")).status == "pending"
    session.has_room()
    assert await worker.taken == "early"
    await session.close()
