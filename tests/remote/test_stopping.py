"""A server that stops in good order, and workers that stop while theirs is gone."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from stepwell import AsyncClient, Context, Settings, UnavailableError, WorkflowWorker, current_step, step, workflow
from tests.api.tools import types_of, until, waits_for
from tests.background import Background, served_aside
from tests.clients import PATIENCE_S
from tests.proxy import Proxy
from tests.remote.test_protocol import HELLO, connected, event

begun: list[tuple[str, str]] = []
"""Run and step of each body that has begun."""
gate = asyncio.Event()
"""The bodies of ``gated`` wait for it."""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    global gate
    gate = asyncio.Event()
    begun.clear()
    yield
    gate.set()


async def _gated() -> str:
    here = current_step()
    begun.append((here.run_id, here.step_id))
    await gate.wait()
    return "through"


@workflow("stopping-gated")
async def gated(ctx: Context) -> list[str]:
    return [await step("first", _gated)(), await step("second", _gated)()]


@workflow("stopping-waits")
async def waits(ctx: Context) -> str:
    return str(await ctx.wait_for_signal("go"))


async def hangs(client: AsyncClient, run_id: str) -> None:
    """Start a run, and return once its first body has begun."""
    await client.workflow.trigger(gated, run_id=run_id)

    async def has_begun() -> bool:
        return (run_id, "first") in begun

    await until(has_begun)


async def readiness(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/readyz") as answer:
        return answer.status


async def test_a_body_that_is_under_way_when_the_server_stops_ends_and_is_recorded(
    client: AsyncClient, server: Background, proxy: Proxy, file_url: str, settings: Settings
):  # fmt: skip
    # promises 2 and 12
    with served_aside(file_url, settings) as other:
        async with AsyncClient(other.url) as there, client.worker(gated, waits):
            await hangs(client, "under-way")
            await client.workflow.trigger(waits, run_id="waits")
            await waits_for(client, "waits", "signal")
            stopping = asyncio.create_task(server.drained())
            while await readiness(server.url) != 503:
                pass
            await client.workflow.send_signal("waits", "go", "on")  # requests are answered meanwhile
            gate.set()
            await stopping
            assert begun == [("under-way", "first")], "no other body has begun"
            assert "step_completed" in await types_of(client, "under-way")
            run = await client.workflow.get_run("under-way")
            assert (run.status, run.interruptions) == ("running", 0)

            host, _, port = other.url.rpartition("/")[2].partition(":")
            proxy.aim(host, int(port))
            assert await there.workflow.result("under-way", PATIENCE_S) == ["through", "through"]
            assert await there.workflow.result("waits", PATIENCE_S) == "on"
    assert begun == [("under-way", "first"), ("under-way", "second")]


@pytest.mark.parametrize("limits", [{"drain_ms": 50}])
async def test_a_body_that_does_not_end_is_stopped_and_its_run_is_handed_back(client: AsyncClient, server: Background):
    async with client.worker(gated):
        await hangs(client, "endless")
        await server.drained()
        run = await client.workflow.get_run("endless")
        assert (run.status, run.interruptions) == ("running", 0)
        assert "is due" in await client.workflow.why("endless")


@pytest.mark.parametrize("limits", [{"drain_ms": 60_000, "worker_silence_ms": 60_000}])
async def test_a_server_that_stops_does_not_wait_for_the_last_word_about_a_run_that_is_over(
    direct: AsyncClient, server: Background
):  # fmt: skip
    async with connected(server.url) as hand:
        await hand.say(HELLO)
        await hand.hear("welcome")
        run = await direct.workflow.trigger("by-hand")
        assigned = await hand.hear("assign")
        end = {"status": "completed", "event": event("run_completed", payload={"output": 1})}
        await hand.say({"type": "progress", "runId": run.run_id, "turn": assigned["turn"], "no": 1, "final": end})
        await hand.hear("settled")
        async with asyncio.timeout(PATIENCE_S):
            await server.drained()
        assert await hand.ended() == (1012, "the server stops")


async def test_a_server_that_stops_sends_new_workers_away(server: Background):
    await server.drained()
    async with AsyncClient(server.url, settings=Settings(patience_ms=300)) as client:
        with pytest.raises(UnavailableError, match="the server stops"):
            await WorkflowWorker(client).start(gated)


@pytest.mark.parametrize("limits", [{"drain_ms": 60_000, "worker_lease_ms": 10_000, "worker_silence_ms": 60_000}])
async def test_a_connection_that_is_lost_while_the_server_stops_is_made_again(
    client: AsyncClient, direct: AsyncClient, server: Background, proxy: Proxy
):  # fmt: skip
    async with client.worker(gated):
        await hangs(client, "again")
        proxy.cut_before("down", b'"type":"interrupt"')
        stopping = asyncio.create_task(server.drained())
        accepted = proxy.accepted

        async def is_back() -> bool:
            return proxy.accepted > accepted

        await until(is_back)
        gate.set()
        await stopping
        assert (await types_of(direct, "again"))[-1] == "step_completed"
    assert begun == [("again", "first")]


@pytest.fixture
async def patient(proxied: str) -> AsyncIterator[AsyncClient]:
    """A client whose calls would wait for an hour."""
    async with AsyncClient(proxied, settings=Settings(patience_ms=3_600_000, waiting_shown_ms=1)) as client:
        yield client


async def test_a_worker_stops_while_its_server_is_gone(patient: AsyncClient, proxy: Proxy):
    worker = WorkflowWorker(patient, drain_timeout="1h")
    await worker.start(gated, waits)
    await patient.workflow.trigger(waits, run_id="waits")
    await waits_for(patient, "waits", "signal")
    await hangs(patient, "in-vain")
    await proxy.refuse()
    stopping = asyncio.create_task(worker.stop())
    done, _ = await asyncio.wait([stopping], timeout=0.2)
    assert not done, "its body may end"
    gate.set()
    async with asyncio.timeout(PATIENCE_S):
        await stopping
    assert begun == [("in-vain", "first")]


async def test_a_worker_that_holds_nothing_stops_while_its_server_is_gone(patient: AsyncClient, proxy: Proxy):
    worker = WorkflowWorker(patient)
    await worker.start(gated)
    await proxy.refuse()
    async with asyncio.timeout(PATIENCE_S):
        await worker.stop()
