"""What the tests of the public surface say often."""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from stepwell import AsyncClient, Event, Run, Workflow
from tests.clients import PATIENCE_S

LOOKS_MAX = 5_000


async def ran(client: AsyncClient, workflow: "str | Workflow[Any, Any]", input: Any = None, **options: Any) -> Run[Any]:
    """Trigger a run and return it once it is over. Somebody else executes it."""
    run = await client.workflow.trigger(workflow, input, **options)
    return await client.workflow.wait(run.run_id, PATIENCE_S)


async def executed(client: AsyncClient, workflow: "Workflow[Any, Any]", input: Any = None, **options: Any) -> Run[Any]:
    """Trigger a run, execute it with a worker of its own, and return it once it is over."""
    async with client.worker(workflow):
        return await ran(client, workflow, input, **options)


async def seen(client: AsyncClient, run_id: str, event_type: str, count: int = 1) -> Event:
    """Return the ``count``-th event of a type once it is recorded."""
    left = count
    async with asyncio.timeout(PATIENCE_S):
        async for event in client.workflow.stream_events(run_id):
            left -= event.event_type == event_type
            if left == 0:
                return event
    raise AssertionError(f"the run is over and has no {event_type} number {count}")


async def events_of(client: AsyncClient, run_id: str, event_type: str) -> list[Event]:
    """Return the events of one type."""
    return [event for event in await client.workflow.get_events(run_id) if event.event_type == event_type]


async def types_of(client: AsyncClient, run_id: str) -> list[str]:
    """Return the types of a run's events, in order."""
    return [event.event_type for event in await client.workflow.get_events(run_id)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when a condition holds of which no event tells. It is looked at a bounded number of times."""
    for _ in range(LOOKS_MAX):
        if await condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"still not so after {LOOKS_MAX} looks")


async def waits_for(client: AsyncClient, run_id: str, kind: str) -> Run[Any]:
    """Return the run once it is shown to wait for this kind of thing."""

    async def is_shown() -> bool:
        waiting = (await client.workflow.get_run(run_id)).waiting_for
        return waiting is not None and waiting.kind == kind

    await until(is_shown)
    return await client.workflow.get_run(run_id)


def cases(names: str | tuple[str, ...], values: Iterable[Any]) -> Callable[[Callable[..., Awaitable[None]]], Any]:
    """As ``parametrize``, for cases of which none leaves anything behind that the next one minds: one client serves them all."""
    names = (names,) if isinstance(names, str) else names
    rows = [value if len(names) > 1 else (value,) for value in values]

    def decorate(test: Callable[..., Awaitable[None]]) -> Any:
        @functools.wraps(test)
        async def all_cases(subtests: pytest.Subtests, **fixtures: Any) -> None:
            for row in rows:
                case = dict(zip(names, row, strict=True))
                with subtests.test(f"{case!r:.500}"):
                    await test(**fixtures, **case)

        asked = inspect.signature(test)
        left = [parameter for parameter in asked.parameters.values() if parameter.name not in names]
        subtests = inspect.Parameter("subtests", inspect.Parameter.KEYWORD_ONLY)
        all_cases.__dict__["__signature__"] = asked.replace(parameters=[*left, subtests])
        return all_cases

    return decorate
