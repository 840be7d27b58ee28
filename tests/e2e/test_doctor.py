"""``stepwell doctor``, run by a person against stores and servers that are well, and that are not."""

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from stepwell import AsyncClient, WorkflowWorker, workflow
from stepwell.clock import Clock
from stepwell.connect import connect
from tests.e2e.commands import Done, Shell
from tests.servers import KEY, Live, client_of, serving


@workflow("naps")
async def naps(ctx: Any, input: Any) -> None:
    await ctx.sleep("1d")


class OffClock(Clock):
    """The clock of a machine that nobody has set right."""

    def __init__(self, off_ms: int) -> None:
        self._off_ms = off_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._off_ms


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


async def examined(shell: Shell, url: str, *args: str, key: str | None = KEY) -> tuple[Done, dict[str, tuple[bool, str]]]:
    """Run the doctor beside the server, which is on this loop; return what it found, the last of each kind."""
    env = {} if key is None else {"STEPWELL_API_KEY": key}
    done = await asyncio.to_thread(lambda: shell.run("doctor", "--json", "--store", url, *args, **env))
    return done, {each["check"]: (each["ok"], each["detail"]) for each in done.json["items"]}


async def made_key(live: Live, **wanted: Any) -> str:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        async with session.post(f"{live.url}/api/keys", json={"name": "k", **wanted}) as answer:
            return str((await answer.json())["key"])


async def test_a_server_is_examined_through_itself(shell: Shell, live: Live):
    client = client_of(live.engine)
    async with WorkflowWorker(client) as worker:
        await worker.start(naps)
        await client.workflow.trigger("naps")
        done, found = await examined(shell, live.url)
    assert done.code == 0, done.out
    assert found["connection"] == (True, live.url)
    assert found["store"] == (True, "reads and writes")
    assert found["clocks"][0]
    assert found["workers"] == (True, "1 live, for naps")
    assert "coverage" not in found


async def test_a_run_that_sleeps_and_that_nobody_knows_is_told_too_and_counted_exactly(shell: Shell, live: Live):
    client = client_of(live.engine)
    async with WorkflowWorker(client) as worker:
        await worker.start(naps)
        await client.workflow.trigger("naps", run_id="sleeps")
        while (await client.workflow.get_run("sleeps")).waiting_for is None:
            await asyncio.sleep(0)
    for _ in range(12):
        await asyncio.gather(*(client.workflow.trigger("naps") for _ in range(1_000)))
    done, found = await examined(shell, live.url)
    assert done.code == 1
    assert found["coverage"] == (False, "12,000 pending and 1 running runs of 'naps', and no live worker knows it")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_server_whose_clock_is_off_is_told(shell: Shell, hours: int):
    engine = connect("memory://", clock=OffClock(hours * 3_600_000))
    await engine.open()
    async with serving(engine) as live:
        done, found = await examined(shell, live.url)
    await engine.close()
    assert done.code == 1
    is_well, said = found["clocks"]
    assert not is_well
    assert ("ahead of" if hours > 0 else "behind") in said
    off_s = float(re.search(r"[\d.]+", said)[0])  # type: ignore[index]
    assert off_s == pytest.approx(3_600, abs=60), "a slow answer makes it a little less"


async def test_a_key_that_is_wrong_or_may_not_look_is_told(shell: Shell, live: Live):
    for key, said in ((None, "STEPWELL_API_KEY"), ("swk_wrong", "STEPWELL_API_KEY")):
        done, found = await examined(shell, live.url, key=key)
        assert done.code == 1
        assert found["runs"][0] is found["workers"][0] is False
        assert said in found["runs"][1]
        assert found["connection"][0], "the server is there"
    for wanted in ({"scopes": ["trigger"]}, {"scopes": ["read"], "workflows": ["mail-"]}):
        done, found = await examined(shell, live.url, key=await made_key(live, **wanted))
        assert done.code == 1
        assert not found["runs"][0]
        assert "key" in found["runs"][1]


async def test_a_connection_that_is_refused_is_told_and_no_password_is_shown(shell: Shell):
    env = {"STEPWELL_PATIENCE_MS": "200"}
    for url in (
        "http://127.0.0.1:9",
        "postgresql://app:pa55word@127.0.0.1:9/db",
        "postgresql://app@127.0.0.1:9/db?password=pa55word",
    ):
        done = await asyncio.to_thread(lambda url=url: shell.run("doctor", "--store", url, **env))
        assert done.code == 1
        assert "wrong" in done.out
        assert "pa55word" not in done.out + done.err
    wrong = await asyncio.to_thread(lambda: shell.run("doctor", "--store", "ftp://nowhere"))
    assert (wrong.code, "url must be one of" in wrong.err) == (2, True)


def test_looking_at_a_store_that_is_not_there_makes_none(shell: Shell):
    done = shell.run("doctor")
    assert done.code == 0
    assert "no file yet" in done.out
    assert list(shell.folder.iterdir()) == []


async def test_both_stores_count_the_runs_in_flight(shell: Shell, postgres_url: str):
    async with AsyncClient(postgres_url) as client:
        for version in ("1", "2"):
            await client.workflow.trigger("naps", version=version)
        await client.workflow.cancel((await client.workflow.trigger("naps", version="3")).run_id)
    done, _ = await examined(shell, postgres_url)
    told = [each["detail"] for each in done.json["items"] if each["check"] == "coverage"]
    assert told == [f"1 pending runs of 'naps' version '{v}', and no live worker knows it" for v in ("1", "2")]
