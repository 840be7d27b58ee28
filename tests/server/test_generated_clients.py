"""Clients that others generate from the description of the API work against a live server."""

import asyncio
import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from stepwell import WorkflowWorker, workflow
from tests.servers import KEY, Http, Live, client_of

_HERE = Path(__file__).parent


@workflow("ask-outside")
async def ask(ctx, input):
    return await ctx.wait_for_signal("answer")


@pytest.fixture
async def _working(live: Live) -> Any:
    async with WorkflowWorker(client_of(live.engine)) as worker:
        await worker.start("ask-outside")
        yield


async def _run(*command: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    return said


async def _described(http: Http, folder: Path) -> Path:
    path = folder / "openapi.json"
    path.write_text(json.dumps(await http("GET", "/openapi.json", status=200)), encoding="utf-8")
    return path


@pytest.mark.usefixtures("_working")
async def test_a_generated_python_client_works(http: Http, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    described = await _described(http, tmp_path)
    tool = str(Path(sys.executable).with_name("openapi-python-client"))
    await _run(tool, "generate", "--path", str(described), "--meta", "none", "--output-path", "made_client", folder=tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    made: Any = importlib.import_module("made_client")
    models: Any = importlib.import_module("made_client.models")
    runs: Any = importlib.import_module("made_client.api.runs")
    names = ("trigger_run", "get_run", "send_signal", "list_runs")
    calls: Any = {name: importlib.import_module(f"{runs.__name__}.{name}") for name in names}
    async with made.AuthenticatedClient(base_url=live.url, token=KEY) as client:
        body = models.TriggerBody(workflow_name="ask-outside", input_=[1], tags=["py"])
        run = await calls["trigger_run"].asyncio(client=client, body=body)
        signal = models.SignalBody(name="answer", payload={"from": "Python"})
        await calls["send_signal"].asyncio(run.run_id, client=client, body=signal)
        ended = await calls["get_run"].asyncio(run.run_id, client=client, wait="30s")
        assert (ended.status, ended.output) == ("completed", {"from": "Python"})
        assert ended.created_at.tzinfo is not None
        page = await calls["list_runs"].asyncio(client=client, tag=["py"])
        assert [each.run_id for each in page.items] == [run.run_id]
        refused = await calls["trigger_run"].asyncio(client=client, body=models.TriggerBody(workflow_name=""))
        assert (refused.code, refused.errors[0].pointer) == ("validation", "/workflowName")


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node")
@pytest.mark.usefixtures("_working")
async def test_a_generated_typescript_client_works(http: Http, live: Live, tmp_path: Path):
    for file in (_HERE / "typescript").iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    await _described(http, tmp_path)
    await _run("npm", "ci", "--no-audit", "--no-fund", "--loglevel", "error", folder=tmp_path)
    tools = tmp_path / "node_modules" / ".bin"
    await _run(str(tools / "openapi-typescript"), "openapi.json", "-o", "api.ts", folder=tmp_path)
    strictly = ("--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext")
    await _run(str(tools / "tsc"), *strictly, "client.ts", folder=tmp_path)
    said = json.loads(await _run("node", "client.js", live.url, KEY, folder=tmp_path))
    assert said == {
        "status": "completed", "output": {"from": "TypeScript"}, "listed": [True], "code": "validation",
        "pointer": "/workflowName",
    }  # fmt: skip
