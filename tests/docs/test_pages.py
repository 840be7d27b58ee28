"""The pages under docs/: their programs run and print what they show, and their tables are complete."""

import asyncio
import dataclasses
import inspect
import multiprocessing
import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import msgspec
import pytest
from cyclopts import App

from stepwell import (
    AsyncClient,
    Client,
    Context,
    Event,
    HookExpired,
    Settings,
    SignalTimeout,
    StepFailed,
    StepInterrupted,
    WorkflowWorker,
    step,
    workflow,
)
from stepwell.cli.app import app
from stepwell.cli.control import Filter
from stepwell.model import EVENT_TYPES
from stepwell.settings import ServerSettings
from tests.docs.programs import blocks, pages, run
from tests.house.tree import ROOT, source_files

DOCS = ROOT / "docs"
PROGRAMS = [page for page in pages() if page.parent == DOCS and blocks(page, "python")]


def _rows(page: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a page by what stands in backquotes in their first column."""
    text = (DOCS / page).read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_are_one_program_that_prints_what_it_shows(page: Path, tmp_path: Path):
    (tmp_path / "page.py").write_text("\n\n".join(blocks(page, "python")), encoding="utf-8")
    (shown,) = blocks(page, "text")
    assert run("page.py", folder=tmp_path) == shown.splitlines()


def test_every_setting_is_listed_with_its_default():
    listed = {name: row[0] for name, row in _rows("settings.md").items() if name.startswith("STEPWELL_")}
    fields = {f"STEPWELL_{field.name.upper()}": field.default for field in msgspec.structs.fields(Settings)}
    fields |= {f"STEPWELL_SERVER_{field.name.upper()}": field.default for field in msgspec.structs.fields(ServerSettings)}
    assert {name: int(shown.replace(",", "")) for name, shown in listed.items() if name in fields} == fields
    assert set(listed) - set(fields) == {"STEPWELL_URL", "STEPWELL_API_KEY", "STEPWELL_HOOK_KEY", "STEPWELL_FAILPOINTS"}


def test_every_option_of_a_step_and_a_workflow_is_listed():
    listed = set(_rows("workflows.md"))
    assert set(workflow.__kwdefaults__) <= listed
    assert set(re.findall(r"``(\w+)`` \(", step.__doc__ or "")) | {"input"} <= listed


def _written() -> set[str]:
    """Return the event types that the code names outside of the list of all of them."""
    elsewhere = {"model.py", "errors.py"}  # the list itself, and codes that are spelled the same
    writing = [path for path in source_files() if "cli" not in path.parts and path.name not in elsewhere]
    named = {word for path in writing for word in re.findall(r'"(\w+)"', path.read_text(encoding="utf-8"))}
    return named & EVENT_TYPES


def _commands(group: App, name: str) -> dict[str, Callable[..., object]]:
    """Return the functions of all commands below a group, by what is typed."""
    found: dict[str, Callable[..., object]] = {}
    for word in group:
        command = group[word]
        if word.startswith("-"):
            continue
        if command.default_command is None:
            found |= _commands(command, f"{name} {word}")
        else:
            found[f"{name} {word}"] = command.default_command
    return found


def test_every_command_is_listed_with_its_options():
    rows = {
        match[0]: row for shown, row in _rows("cli.md").items() if (match := re.match(r"stepwell( [a-z][a-z-]+)+(?= |$)", shown))
    }
    commands = _commands(app, "stepwell")
    assert set(rows) == set(commands)
    ours = {"common", "json", "store", "only", "inherited"}  # the last is between our own processes
    for name, function in commands.items():
        parameters = inspect.signature(function).parameters.values()
        options = {
            f"--{each.name.rstrip('_')}".replace("_", "-")
            for each in parameters
            if each.kind is each.KEYWORD_ONLY and each.name not in ours
        }
        assert options == set(re.findall(r"--[a-z-]+", rows[name][0])), name
        assert ("only" in inspect.signature(function).parameters) == ("the filter" in rows[name][0]), name


def test_every_part_of_the_filter_is_listed():
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    filters = {f"--{field.name}".replace("_", "-") for field in dataclasses.fields(Filter)}
    assert filters == set(re.findall(r"--[a-z-]+", text.partition("The filter is `")[2].partition("`")[0]))


def _event_rows() -> dict[str, list[str]]:
    return {name: row for name, row in _rows("events.md").items() if len(row) == 2}


def test_every_event_type_that_is_written_is_described_and_no_other():
    assert set(_event_rows()) == _written()


@step("slow")
async def slow(ms: int) -> None:
    await asyncio.sleep(ms / 1000)


@step("fails", retries=1, retry_delay=1)
async def fails(why: str) -> None:
    raise ValueError(why)


@step("lost", at_most_once=True)
async def lost(started: str) -> None:
    """Say that the body is under way, and wait for the end of the worker."""
    await client_of_test.get().workflow.send_signal(started, "under way")
    await asyncio.Event().wait()


client_of_test: ContextVar[AsyncClient] = ContextVar("client_of_test")


@workflow("docs-eventful")
async def eventful(ctx: Context, watcher: str) -> None:
    await slow(3)
    with pytest.raises(StepFailed):
        await fails("it fails")
    with pytest.raises(SignalTimeout):
        await ctx.wait_for_signal("never", timeout="1ms")
    await ctx.race({"sleep": ctx.sleep("1ms"), "signal": ctx.wait_for_signal("never")})
    await ctx.wait_for_signal("go")
    with pytest.raises(StepInterrupted):
        await lost(watcher)
    await ctx.run_child(child)
    await ctx.set_state({"half": "done"})
    await ctx.patched("a-change")
    hook = await ctx.create_hook("budget", "approve")
    await client_of_test.get().workflow.execute_hook(hook.token)
    await ctx.wait_for_hook(hook.token)
    late = await ctx.create_hook("late", "approve", expires="1ms")
    with pytest.raises(HookExpired):
        await ctx.wait_for_hook(late.token)
    await ctx.wait_for_signal("go")


@workflow("docs-undone")
async def undone(ctx: Context, why: str) -> None:
    await step("a", slow.fn, compensate=lambda _: None)(0)
    await step("b", slow.fn, compensate=lambda _: why.missing)(0)  # type: ignore[attr-defined]
    if why:
        await fails(why)
    await ctx.wait_for_signal("never")


@workflow("docs-child")
async def child(ctx: Context) -> None:
    pass


@workflow("docs-watcher")
async def watcher(ctx: Context) -> None:
    await ctx.wait_for_signal("under way")


@workflow("docs-failing")
async def failing(ctx: Context) -> None:
    await fails("it fails")


@workflow("docs-deadly")
async def deadly(ctx: Context) -> None:
    await step("dies", os._exit)(9)


def _die(url: str) -> None:
    with Client(url) as client, client.worker(deadly):
        client.workflow.result(client.workflow.trigger(deadly, run_id="deadly"))


async def _histories(url: str) -> list[Event]:
    """Return the histories of runs in which every type of event occurs."""
    settings = Settings(step_started_ms=2, quarantine_pause=1)
    async with AsyncClient(url, settings=settings) as client:
        client_of_test.set(client)
        calls = client.workflow
        under_way = (await calls.trigger(watcher)).run_id
        run_id = (
            await calls.trigger(
                eventful, under_way, tags=["a"], priority=1, delay="1ms", idempotency_key="k", execution_timeout="1h",
                parent_run_id=under_way,
            )
        ).run_id  # fmt: skip
        async with client.worker(watcher), WorkflowWorker(client) as worker:
            await worker.start(eventful)
            await calls.send_signal(run_id, "go")
            await calls.wait(under_way)
            await worker.stop(drain=False)
        async with client.worker(eventful, child, failing, deadly, undone):
            await calls.send_signal(run_id, "go")
            await calls.wait(run_id)
            failed = await calls.trigger(failing)
            await calls.wait(failed.run_id)
            await calls.retry(failed.run_id)
            await calls.wait(failed.run_id)
            fork = await calls.fork(failed.run_id)
            undone_ids = [(await calls.trigger(undone, why)).run_id for why in ("", "it fails")]
            await calls.wait(undone_ids[1])
            async for event in calls.stream_events("deadly"):
                if event.event_type == "run_paused":
                    break
        await calls.cancel(undone_ids[0])
        await calls.pause(undone_ids[0])
        await calls.set_step_result(undone_ids[0], "compensate:a", None, "somebody has looked")
        await calls.resume(undone_ids[0])
        async with client.worker(undone):
            await calls.wait(undone_ids[0])
        await calls.set_step_result("deadly", "dies", None, "the operator has looked")
        await calls.resume("deadly")
        await calls.cancel("deadly")
        ids = (run_id, failed.run_id, fork.run_id, "deadly", *undone_ids)
        return [event for each in ids for event in await calls.get_events(each)]


def test_what_is_described_of_each_event_is_what_its_payload_holds(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    dying = multiprocessing.get_context("spawn").Process(target=_die, args=(url,))
    dying.start()
    dying.join()
    assert dying.exitcode == 9
    found: dict[str, list[set[str]]] = {}
    for event in asyncio.run(_histories(url)):
        found.setdefault(event.event_type, []).append(set(event.payload))
    described = {name: re.findall(r"`(\w+)(\??)`", row[1]) for name, row in _event_rows().items()}
    assert set(found) == set(described)
    for name, fields in described.items():
        assert set.union(*found[name]) == {field for field, _ in fields}, name
        assert set.intersection(*found[name]) >= {field for field, optional in fields if not optional}, name
