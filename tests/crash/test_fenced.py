"""A node that others took for dead, in this process: what it was doing at that moment."""

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest

from stepwell import AsyncClient, Context, WorkflowWorker, failpoints, workflow
from stepwell.clock import Clock


class _Hour(Clock):
    """A clock that can be put forward."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@workflow("crash-fenced")
async def fenced(ctx: Context) -> str:
    """Does nothing."""
    return "done"


def _bury_all(database: Path) -> None:
    connection = apsw.Connection(str(database))
    connection.execute("UPDATE nodes SET alive = 0")
    connection.close()


@pytest.fixture
def clock() -> _Hour:
    return _Hour()


@pytest.fixture
def client(tmp_path: Path, clock: _Hour) -> AsyncClient:
    return AsyncClient(f"sqlite:///{tmp_path}/store.db", clock=clock)


async def test_a_claim_under_way_while_its_node_is_fenced_is_not_forgotten(
    client: AsyncClient, clock: _Hour, tmp_path: Path
) -> None:
    # promises 4 and 13
    loop = asyncio.get_running_loop()
    claims: list[asyncio.Task[int]] = []
    async with client, WorkflowWorker(client) as worker:
        await worker.start(fenced)
        engine: Any = await client.engine()
        run = await client.workflow.trigger(fenced, delay="1h")
        before = engine.node_id

        async def claim() -> None:
            claims.append(asyncio.create_task(engine.claims.tick()))
            await asyncio.sleep(0)  # its operation waits for the next commit now

        def during_the_commit() -> None:
            del failpoints.armed["commit.before_begin"]
            asyncio.run_coroutine_threadsafe(claim(), loop).result()

        await asyncio.to_thread(_bury_all, tmp_path / "store.db")
        clock.ahead_ms = 3_600_000
        failpoints.armed["commit.before_begin"] = during_the_commit
        await engine.renew()
        assert await claims[0] == 1
        assert engine.node_id != before
        assert await client.workflow.result(run, timeout=60) == "done"
        assert await client.check_store() == []
