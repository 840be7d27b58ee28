"""Workers whose connection is cut, silent, slow or half closed: nothing is lost, and nothing is recorded twice."""

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stepwell import AsyncClient, Context, Settings, WorkflowWorker, current_step, step, workflow
from tests.api.tools import seen, types_of, until, waits_for
from tests.background import Background, served_aside
from tests.clients import PATIENCE_S
from tests.proxy import Proxy

begun: Counter[tuple[str, str]] = Counter()
"""How often each step's body has begun, by run and step."""
gates: dict[str, asyncio.Event] = {}
"""By run id: the body ``gated`` waits for it."""


PATIENT = {"worker_lease_ms": 10_000, "worker_silence_ms": 60_000}
"""A server that waits for a worker however slow the machine is."""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    begun.clear()
    gates.clear()


def note() -> None:
    here = current_step()
    begun[here.run_id, here.step_id] += 1


async def _counted(n: int) -> int:
    note()
    return n + 1


async def _gated() -> str:
    note()
    gate = gates.get(current_step().run_id)
    if gate is not None:
        await gate.wait()
    return "through"


@workflow("remote-ten")
async def ten(ctx: Context, n: int) -> int:
    for index in range(10):
        n = await step(f"s{index}", _counted)(n)
    return n


@workflow("remote-gated")
async def gated(ctx: Context) -> list[str]:
    first = await step("gated", _gated)()
    second = await step("after", _gated)()
    return [first, second]


@workflow("remote-signal")
async def signalled(ctx: Context) -> list[int]:
    return [await ctx.wait_for_signal("go") for _ in range(3)]


async def hangs(client: AsyncClient, run_id: str) -> None:
    """Start a run whose body hangs at its gate, and return once it has begun."""
    gates[run_id] = asyncio.Event()
    await client.workflow.trigger(gated, run_id=run_id)

    async def has_begun() -> bool:
        return begun[run_id, "gated"] > 0

    await until(has_begun)


async def test_runs_go_on_over_connections_that_are_cut_again_and_again(client: AsyncClient, direct: AsyncClient, proxy: Proxy):
    # promises 1, 2 and 4
    async with client.worker(ten, concurrency=3):
        runs = [await direct.workflow.trigger(ten, n) for n in range(30)]
        over = asyncio.gather(*(direct.workflow.wait(run.run_id, PATIENCE_S) for run in runs))
        while not over.done():
            proxy.cut_before("down", b'"type":"settled"')
            await asyncio.wait([over], timeout=0.1)
        ended = await over
    assert [run.output for run in ended] == [n + 10 for n in range(30)]
    assert proxy.cuts > 0
    for run in ended:
        assert (await types_of(direct, run.run_id)).count("step_completed") == 10


@pytest.mark.parametrize("limits", [PATIENT])
async def test_a_result_whose_answer_was_lost_is_sent_again_and_answered_as_committed(
    client: AsyncClient, direct: AsyncClient, proxy: Proxy
):  # fmt: skip
    async with client.worker(ten):
        proxy.cut_before("down", b'"type":"settled"')
        run = await direct.workflow.trigger(ten, 0)
        assert await direct.workflow.result(run.run_id, PATIENCE_S) == 10
    assert proxy.cuts == 1
    assert set(begun.values()) == {1}, "it went on with what it held"
    assert (await direct.workflow.get_run(run.run_id)).interruptions == 0


async def test_messages_that_were_lost_on_the_way_are_delivered_again(client: AsyncClient, direct: AsyncClient, proxy: Proxy):
    # promise 6
    async with client.worker(signalled):
        run = await direct.workflow.trigger(signalled)
        await waits_for(direct, run.run_id, "signal")
        for number in range(3):
            proxy.cut_before("down", b'"type":"deliver"')
            await direct.workflow.send_signal(run.run_id, "go", number)
        assert await direct.workflow.result(run.run_id, PATIENCE_S) == [0, 1, 2]
    assert proxy.cuts > 0


@pytest.mark.parametrize("limits", [PATIENT])
async def test_a_run_whose_assignment_was_lost_is_assigned_again(client: AsyncClient, direct: AsyncClient, proxy: Proxy):
    async with client.worker(ten):
        proxy.cut_before("down", b'"type":"assign"')
        run = await direct.workflow.trigger(ten, 5)
        assert await direct.workflow.result(run.run_id, PATIENCE_S) == 15
    assert set(begun.values()) == {1}


async def test_the_runs_of_a_silent_worker_go_to_another_and_its_late_results_are_refused(
    client: AsyncClient, direct: AsyncClient, proxy: Proxy
):  # fmt: skip
    # promises 4 and 12
    async with client.worker(gated):
        await hangs(direct, "silent")
        proxy.silence()
        gate = gates.pop("silent")
        async with direct.worker(gated):
            assert await direct.workflow.result("silent", PATIENCE_S) == ["through", "through"]
        assert begun["silent", "gated"] == 2
        assert begun["silent", "after"] == 1
        events = await direct.workflow.get_events("silent")
        gate.set()
        proxy.heal()
        await direct.workflow.trigger(gated, run_id="next")
        assert await direct.workflow.result("next", PATIENCE_S) == ["through", "through"], "the old one is back"
    assert await direct.workflow.get_events("silent") == events
    assert begun["silent", "after"] == 1
    assert (await direct.workflow.get_run("silent")).interruptions == 1


async def test_a_silent_connection_starts_no_body(client: AsyncClient, direct: AsyncClient, proxy: Proxy):
    # promise 2
    async with client.worker(gated):
        await hangs(direct, "lease")
        proxy.silence()
        async with direct.worker(gated):
            gates.pop("lease").set()  # the old worker's body ends, and what comes after it must wait for the lease
            await direct.workflow.result("lease", PATIENCE_S)
            assert begun["lease", "after"] == 1
            proxy.heal()
    assert begun["lease", "after"] == 1


async def test_a_cancel_while_the_worker_is_away_stops_its_step_when_it_is_back(
    client: AsyncClient, direct: AsyncClient, proxy: Proxy
):  # fmt: skip
    # promise 9, trap 15
    async with client.worker(gated):
        await hangs(direct, "away")
        proxy.silence("down")
        assert (await direct.workflow.cancel("away")).status == "cancelled"
        events = await direct.workflow.get_events("away")
        proxy.heal()
        await direct.workflow.trigger(gated, run_id="here")
        await direct.workflow.result("here", PATIENCE_S)
    assert begun["away", "after"] == 0
    assert await direct.workflow.get_events("away") == events


async def test_a_worker_goes_on_with_another_server_over_the_same_store(
    client: AsyncClient, proxy: Proxy, server: Background, file_url: str, settings: Settings
):  # fmt: skip
    with served_aside(file_url, settings) as other:
        parts = urlsplit(other.url)
        async with client.worker(ten, gated), AsyncClient(other.url) as there:
            await hangs(client, "moves")
            proxy.aim(parts.hostname or "", parts.port or 0)
            gates.pop("moves").set()
            proxy.cut()
            runs = [await there.workflow.trigger(ten, n) for n in range(5)]
            assert [await there.workflow.result(run.run_id, PATIENCE_S) for run in runs] == [10, 11, 12, 13, 14]
            assert await there.workflow.result("moves", PATIENCE_S) == ["through", "through"]


@pytest.mark.parametrize("way", ["half close down", "half close up", "slow", "dribble", "refuse"])
async def test_whatever_the_network_does_runs_are_seen_through(
    way: str, client: AsyncClient, direct: AsyncClient, proxy: Proxy
):  # fmt: skip
    async with client.worker(ten):
        runs = [await direct.workflow.trigger(ten, n) for n in range(10)]
        if way == "slow":
            proxy.delay(0.05)
        elif way == "dribble":
            proxy.dribble(100, 0.001)
        elif way == "refuse":
            await proxy.refuse()
            await proxy.accept()
        else:
            proxy.half_close("up" if way.endswith("up") else "down")
        assert [await direct.workflow.result(run.run_id, PATIENCE_S) for run in runs] == list(range(10, 20))
        proxy.heal()


def _blocks() -> None:
    time.sleep(1.6)


@pytest.mark.usefixtures("may_block_the_loop")
async def test_a_step_that_blocks_the_loop_is_named_and_its_worker_is_not_given_up(
    direct: AsyncClient, caplog: pytest.LogCaptureFixture
):  # fmt: skip
    async def stubborn() -> str:
        _blocks()
        return "done"

    @workflow("remote-blocks")
    async def blocks(ctx: Context) -> str:
        return await step("stubborn", stubborn)()

    with caplog.at_level(logging.WARNING, "stepwell.worker"):
        async with direct.worker(blocks):
            run = await direct.workflow.trigger(blocks, run_id="blocked")
            ended = await direct.workflow.wait(run.run_id, PATIENCE_S)
    assert (ended.status, ended.interruptions, ended.event_count) == ("completed", 0, 4)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "step 'stubborn' of run 'blocked'" in said
    assert f"{Path(__file__).name}:" in said


async def test_a_worker_that_leaves_hands_back_at_once_and_one_that_drains_lets_its_body_finish(
    client: AsyncClient, direct: AsyncClient
):  # fmt: skip
    # promise 12
    async with client.worker(gated):
        await hangs(direct, "drains")
        asyncio.get_running_loop().call_later(0.05, gates.pop("drains").set)
    run = await direct.workflow.get_run("drains")
    assert begun["drains", "gated"] == 1
    assert "step_completed" in await types_of(direct, "drains")
    assert run.interruptions == 0
    async with direct.worker(gated):
        assert await direct.workflow.result("drains", PATIENCE_S) == ["through", "through"]
    assert begun["drains", "gated"] == 1


async def _loses_its_connection(client: AsyncClient, direct: AsyncClient, proxy: Proxy) -> None:
    """Begin the body of the run, and be gone, for good."""
    worker = WorkflowWorker(client)
    gates["kills"] = asyncio.Event()
    count, lost = begun["kills", "gated"], (await direct.workflow.get_run("kills")).interruptions

    async def has_begun() -> bool:
        return begun["kills", "gated"] > count

    async def is_lost() -> bool:
        return (await direct.workflow.get_run("kills")).interruptions > lost

    await worker.start(gated)
    await until(has_begun)
    await proxy.refuse()
    await until(is_lost)
    await worker.stop(drain=False)


async def test_a_run_that_keeps_losing_its_worker_is_paused_with_the_reason(server: Background, settings: Settings):
    # trap 12
    async with AsyncClient(server.url, settings=settings) as direct:
        run = await direct.workflow.trigger(gated, run_id="kills")
        for _ in range(5):
            parts = urlsplit(server.url)
            async with Proxy(parts.hostname or "", parts.port or 0) as proxy:
                async with AsyncClient(f"http://127.0.0.1:{proxy.port}", settings=Settings(patience_ms=1_000)) as client:
                    await _loses_its_connection(client, direct, proxy)
        run = await direct.workflow.get_run("kills")
        assert run.status == "paused"
        assert run.waiting_for is not None
        assert "lost 5 times" in run.waiting_for.name
        await seen(direct, "kills", "run_paused")
