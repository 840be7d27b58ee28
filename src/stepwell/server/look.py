"""Routes that show the whole: counts, workflows, workers; and how the server is."""

import asyncio

from msgspec import structs

from stepwell.durations import from_ms
from stepwell.errors import StepwellError
from stepwell.server.answers import Answer, answer
from stepwell.server.bodies import Definition, Health, NoQuery, Problems
from stepwell.server.requests import Request


async def stats(request: Request) -> Answer:
    """Count."""
    request.query(NoQuery)
    request.must_see_all()
    return answer(await request.world.engine.stats())


async def check(request: Request) -> Answer:
    """Verify every invariant of the store."""
    request.query(NoQuery)
    request.must_see_all()
    return answer(Problems(problems=await request.world.engine.check()))


async def workers(request: Request) -> Answer:
    """List the live nodes that execute runs, and what they know."""
    request.query(NoQuery)
    sees = request.identity.sees
    shown = [
        structs.replace(worker, workflows=[each for each in worker.workflows if sees(each[0])])
        for worker in await request.world.engine.workers()
    ]
    return answer({"items": [worker for worker in shown if worker.workflows], "nextCursor": None})


async def in_flight(request: Request) -> Answer:
    """Count the runs that are not over, by workflow and version."""
    request.query(NoQuery)
    shown = [each for each in await request.world.engine.in_flight() if request.identity.sees(each.workflow_name)]
    return answer({"items": shown, "nextCursor": None})


async def definitions(request: Request) -> Answer:
    """List the workflows that live workers know."""
    request.query(NoQuery)
    known: dict[str, Definition] = {}
    for worker in await request.world.engine.workers():
        for name in {name for name, _ in worker.workflows}:
            if not request.identity.sees(name):
                continue
            entry = known.setdefault(name, Definition(workflow_name=name, versions=[], workers=0))
            entry.workers += 1
            versions = [version or None for each, version in worker.workflows if each == name]
            entry.versions.extend(version for version in versions if version not in entry.versions)
    return answer({"items": [known[name] for name in sorted(known)], "nextCursor": None})


async def live(request: Request) -> Answer:
    """Say that the process lives."""
    return answer(Health(status="ok"))


async def ready(request: Request) -> Answer:
    """Say whether requests would be served: the store can be read and written, and the lease is held."""
    if request.world.stopping.is_set() or request.world.gateway.is_stopping:
        return answer(Health(status="unavailable", detail="the server is stopping"), 503)
    try:
        await request.world.engine.ready()
    except StepwellError as error:
        return answer(Health(status="unavailable", detail=error.code), 503)
    return answer(Health(status="ok", now=from_ms(request.world.engine.now_ms())))


async def page(request: Request) -> Answer:
    """Show what describes the API."""
    request.query(NoQuery)
    return (await asyncio.to_thread(request.world.pages))[request.path]


async def metrics(request: Request) -> Answer:
    """Show what was counted."""
    request.query(NoQuery)
    request.must_see_all()
    world = request.world
    return world.metrics.answer(await world.engine.stats(), world.waits)
