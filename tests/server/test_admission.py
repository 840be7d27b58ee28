"""How many runs may be made: by a key in a second, and while others wait for a worker. On every store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from stepwell import AsyncClient, RateLimitedError, Settings, UnavailableError, failpoints
from stepwell.connect import connect
from stepwell.engine.access_calls import NewKey
from stepwell.engine.api import Engine
from stepwell.server.keys import new_key
from stepwell.settings import ServerSettings
from tests.servers import KEY, Http, asking, serving

RUNS = "/api/workflows/runs"
ONE = {"workflowName": "w"}


@pytest.fixture(params=["sqlite", "postgres"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine on a file, or on PostgreSQL."""
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/app.db" if is_file else request.getfixturevalue("postgres_url")
    engine = connect(url, settings=Settings(patience_ms=200 if is_file else 10_000))
    await engine.open()
    yield engine
    await engine.close()


async def _refused(http: Http, path: str, body: Any) -> tuple[str, int]:
    answer = await http("POST", path, body)
    assert answer.status == 429
    problem = await answer.json()
    assert problem["code"] == "rate_limited"
    assert f"({problem['limit']})" in problem["detail"]
    return problem["limit"], int(answer.headers["Retry-After"])


async def test_a_key_makes_so_many_runs_a_second_and_a_batch_is_paid_for_afterwards(engine: Any):
    shown, row = new_key(NewKey(name="n", scopes=["trigger"], triggers_per_second=1), now_ms=engine.now_ms())
    await engine.keep_key(row)
    async with serving(engine) as live, asking(live, shown) as limited, asking(live) as http:
        made = await limited("POST", f"{RUNS}/batch", {"runs": [ONE] * 1_000}, status=200)
        assert {each["status"] for each in made["items"]} == {201}
        for path, body in ((RUNS, ONE), (f"{RUNS}/batch", {"runs": [ONE]})):
            limit, after_s = await _refused(limited, path, body)
            assert limit == "triggers_per_second"
            assert 900 < after_s <= 1_000
        await http("POST", RUNS, ONE, status=201)
        assert (await engine.stats()).claimable == 1_001, "nothing was made of what was refused"


async def test_while_the_queue_is_full_nobody_triggers(engine: Engine):
    async with serving(engine, limits=ServerSettings(queue_depth_max=3)) as live, asking(live) as http:
        await http("POST", RUNS, ONE | {"runId": "first"}, status=201)
        await http("POST", RUNS, ONE | {"delay": "1h"}, status=201)
        await http("POST", f"{RUNS}/batch", {"runs": [ONE] * 2}, status=200)
        for path, body in ((RUNS, ONE), (f"{RUNS}/batch", {"runs": [ONE]})):
            assert await _refused(http, path, body) == ("queue_depth_max", 1)
        await http("GET", RUNS, status=200)
        await http("DELETE", f"{RUNS}/first", status=202)
        while (await http("POST", RUNS, ONE)).status == 429:
            pass
        while (await http("POST", RUNS, ONE)).status == 201:
            pass


async def test_a_client_comes_again_when_it_was_told_to_and_while_its_patience_lasts(engine: Engine):
    async with serving(engine, limits=ServerSettings(queue_depth_max=1)) as live, asking(live) as http:
        await http("POST", RUNS, ONE | {"runId": "first"}, status=201)
        async with AsyncClient(live.url, api_key=KEY, settings=Settings(patience_ms=100)) as hasty:
            with pytest.raises(RateLimitedError, match="queue_depth_max") as refused:
                await hasty.workflow.trigger("w")
        assert (refused.value.limit, refused.value.retry_after) == ("queue_depth_max", 1)
        async with AsyncClient(live.url, api_key=KEY, settings=Settings(patience_ms=60_000)) as patient:
            coming = asyncio.create_task(patient.workflow.trigger("w", run_id="second"))
            while 'route="triggerRun",status="429"} 2.0' not in await _metrics(http):
                await asyncio.sleep(0)
            await http("DELETE", f"{RUNS}/first", status=202)
            assert (await coming).created


async def _metrics(http: Http) -> str:
    async with http.session.get(f"{http.url}/metrics") as answer:
        return await answer.text()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_an_answer_that_the_store_is_gone_says_whether_it_may_have_been_done(engine: Engine, tmp_path: Path):
    def fail() -> None:
        raise RuntimeError("not foreseen")

    async with (
        serving(engine) as live,
        asking(live) as http,
        AsyncClient(live.url, api_key=KEY, settings=Settings(patience_ms=1)) as client,
    ):
        await http("POST", RUNS, ONE | {"runId": "r"}, status=201)
        foreign = apsw.Connection(str(tmp_path / "app.db"))
        foreign.execute("BEGIN IMMEDIATE")
        assert (await http("POST", RUNS, ONE, status=503))["outcomeKnown"] is True
        with pytest.raises(UnavailableError, match="nothing was done") as certain:
            await client.workflow.trigger("w")
        assert certain.value.outcome_known
        foreign.execute("ROLLBACK")
        foreign.close()
        failpoints.armed["commit.before_write"] = fail
        assert (await http("POST", RUNS, ONE, status=503))["outcomeKnown"] is False
        with pytest.raises(UnavailableError, match="not known whether it was done") as unknown:
            await client.workflow.trigger("w")
        assert not unknown.value.outcome_known
        failpoints.armed.clear()
