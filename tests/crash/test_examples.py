"""The practical examples, which read and write records: die at every commit of each, and be none the worse for it."""

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stepwell import AsyncClient, WorkflowWorker, failpoints
from tests.crash.lives import PLACES
from tests.docs.test_examples import module_of

RUN = "the-run"
ITEMS = [{"id": f"item-{n}", "batchId": "b", "status": "pending", "value": n} for n in range(6)]


class _Died(BaseException):
    """Ends the thread that writes, as the death of the process would."""


async def _pipeline(client: AsyncClient) -> None:
    await client.collection("_users").upsert({"id": "user-123", "email": "ada@example.org", "city": "Lisbon"})
    await client.collection("user_profiles").upsert({"id": "user-123"})


async def _piped(client: AsyncClient, output: Any) -> None:
    assert output == {"success": True}
    assert (await client.collection("user_profiles").get_one("user-123"))["timeZone"] == "Europe/Lisbon"


async def _batch(client: AsyncClient) -> None:
    # As a client would that tries again after a crash: what is there already is left as it is.
    if not await client.collection("batch_items").count():
        await client.collection("batches").upsert({"id": "b", "status": "pending"})
        await client.collection("batch_items").upsert_many(ITEMS)


async def _batched(client: AsyncClient, output: Any) -> None:
    assert output == {"total": 6, "succeeded": 5, "failed": 1}
    assert await client.collection("batch_items").count("status = 'completed' && result.success = true") == 5
    assert (await client.collection("batches").get_one("b"))["summary"] == output


async def _nothing(client: AsyncClient) -> None:
    """The order and the report need no records beforehand."""


async def _ordered(client: AsyncClient, output: Any) -> None:
    assert output == {"shipped": True, "charged": 31, "parcel": "parcel-of-order-7"}


async def _reported(client: AsyncClient, output: Any) -> None:
    # A step is at least once: a report whose record was not recorded is made again. The one that is told of is there.
    assert (await client.collection("reports").get_one(output["reportId"]))["type"] == "weekly"


CASES: dict[str, tuple[str, Any, Callable[[AsyncClient], Any], Callable[[AsyncClient, Any], Any]]] = {
    "data_pipeline": ("process-user-data", [{"userId": "user-123"}], _pipeline, _piped),
    "order_processing": ("process-order", [{"orderId": "order-7"}], _nothing, _ordered),
    "batch_processing": ("batch-process", [{"batchId": "b"}], _batch, _batched),
    "generate_report": ("generate-report", [{"type": "weekly"}], _nothing, _reported),
}


async def _life(name: str, module: Any, url: str, death: tuple[str, int] | None) -> bool:
    """Live until the run is over and checked; tell whether that came about."""
    workflow, given, prepare, check = CASES[name]
    loop = asyncio.get_running_loop()
    dead: asyncio.Future[None] = loop.create_future()
    counts = dict.fromkeys(PLACES, 0)

    def passes(place: str) -> Callable[[], None]:
        def passing() -> None:
            counts[place] += 1
            if death == (place, counts[place]):
                loop.call_soon_threadsafe(dead.set_result, None)
                raise _Died

        return passing

    failpoints.armed.update({place: passes(place) for place in PLACES})
    client = module.client = AsyncClient(url)

    async def live() -> None:
        worker = WorkflowWorker(client)
        await worker.start(workflow)
        await prepare(client)
        await client.workflow.trigger(workflow, given, run_id=RUN)
        await check(client, await client.workflow.result(RUN))
        await worker.stop()
        assert await client.check_store() == []
        await client.close()

    living = loop.create_task(live())
    await asyncio.wait({living, dead}, return_when=asyncio.FIRST_COMPLETED)
    if not dead.done():
        living.result()
        return True
    engine: Any = client._engine
    await asyncio.to_thread(engine.store.abandon)
    return False


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CASES)
def test_an_example_survives_a_death_at_every_commit(name: str, place: str, tmp_path: Path) -> None:
    module = module_of(name)
    for nth in count(1):
        url = f"sqlite:///{tmp_path / f'{nth}.db'}"
        if asyncio.run(_life(name, module, url, (place, nth))):
            assert nth > 3
            return
        assert asyncio.run(_life(name, module, url, None))
