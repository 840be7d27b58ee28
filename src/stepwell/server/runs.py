"""Routes that make, show and steer runs."""

import asyncio
import contextlib
import re
from typing import Any, Final

from msgspec import UNSET, structs

from stepwell.checks import check_name
from stepwell.client.requests import new_id, run_filter, signal_request, trigger_request, update_request
from stepwell.durations import Duration, parse_ms
from stepwell.engine.api import ForkRequest, TriggerRequest
from stepwell.errors import NotFoundError, PermissionDeniedError, StepwellError, ValidationError
from stepwell.model import Run
from stepwell.server.answers import Answer, answer
from stepwell.server.bodies import (
    BatchBody,
    BatchItem,
    CancelQuery,
    ForkBody,
    ListQuery,
    NoQuery,
    PageQuery,
    PatchBody,
    RunQuery,
    StepResultBody,
    TriggerBody,
    TriggerQuery,
    Why,
)
from stepwell.server.paging import page
from stepwell.server.problems import Problem, problem_of
from stepwell.server.requests import Request
from stepwell.server.streams import first_of

_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_STEERING: Final = {"paused": "pauseRun", "running": "resumeRun", "pending": "retryRun", "cancelled": "cancelRun"}
"""What the audit log calls it when a run is given a status."""


async def trigger(request: Request) -> Answer:
    """Make a run: 201, or 200 with the run that has this id or key already; at once, or when it is over."""
    wait_ms = _wait_ms(request, request.query(TriggerQuery).wait)
    body = await request.body(TriggerBody)
    wanted = await _wanted(request, body)
    world, identity = request.world, request.identity
    if wait_ms is None:
        run = await _make(request, wanted)
        return answer(run, *_made(request, run))
    if not identity.may("read"):
        raise PermissionDeniedError("this key lacks the scope 'read', which it needs to wait for what becomes of a run")
    with world.waiting(identity):
        run = await _make(request, wanted)
        then = run if run.is_over else await _until_over(request, run.run_id, wait_ms)
        return answer(structs.replace(then, created=run.created), *_made(request, run))


async def _make(request: Request, wanted: TriggerRequest) -> Run[Any]:
    await request.world.admission.admit(request.identity, 1)
    return await request.world.engine.trigger(wanted)


def _made(request: Request, run: Run[Any]) -> tuple[int, dict[str, str]]:
    if not run.created:
        return 200, {}
    request.world.metrics.triggered(run.workflow_name)
    return 201, {"location": f"/api/workflows/runs/{run.run_id}"}


async def _wanted(request: Request, body: TriggerBody) -> TriggerRequest:
    settings = request.world.engine.settings
    if not request.identity.sees(body.workflow_name):
        raise PermissionDeniedError(f"this key may not touch workflow {body.workflow_name!r}")
    if body.parent_run_id is not None:
        await request.world.must_see(request.identity, body.parent_run_id)
    if body.signal is not None and body.run_id is None:
        raise ValidationError("signal needs run_id: the id of the run to send it to", field="run_id")
    given = body.signal
    signal = None if given is None else signal_request(given.name, given.payload, given.signal_id, settings)
    return trigger_request(
        body.workflow_name, body.input, settings, run_id=body.run_id, idempotency_key=body.idempotency_key,
        parent_run_id=body.parent_run_id, tags=body.tags, priority=body.priority, delay=body.delay, start_at=body.start_at,
        max_events=body.max_events, execution_timeout=body.execution_timeout, version=body.version, signal=signal,
    )  # fmt: skip


async def trigger_batch(request: Request) -> Answer:
    """Make runs in one commit; each has an answer of its own."""
    request.query(NoQuery)
    body = await request.body(BatchBody)
    most = request.world.limits.batch_max
    if len(body.runs) > most:
        raise Problem(422, "validation", f"runs must be at most {most:,}, not {len(body.runs):,}", limit="batch_max")
    wanted: list[TriggerRequest | StepwellError] = []
    for each in body.runs:
        try:
            wanted.append(await _wanted(request, each))
        except StepwellError as error:
            wanted.append(error)
    good = [each for each in wanted if isinstance(each, TriggerRequest)]
    await request.world.admission.admit(request.identity, len(good))
    made = iter(await request.world.engine.trigger_many(good))
    results = [each if isinstance(each, StepwellError) else next(made) for each in wanted]
    return answer({"items": [_item(request, each) for each in results], "nextCursor": None})


def _item(request: Request, result: Run[Any] | StepwellError) -> BatchItem:
    if isinstance(result, Run):
        return BatchItem(status=_made(request, result)[0], run=result)
    problem = problem_of(result)
    return BatchItem(status=problem.status, problem=problem.details())


async def get(request: Request) -> Answer:
    """Show a run, or wait for its end."""
    query = request.query(RunQuery)
    run_id = request.parts["runId"]
    world, identity = request.world, request.identity
    wait_ms = _wait_ms(request, query.wait)
    if wait_ms is None:
        run = await world.engine.get_run(run_id)
        world.must_show(identity, run)
        return answer(run)
    await world.must_see(identity, run_id)
    with world.waiting(identity):
        return answer(await _until_over(request, run_id, wait_ms))


def _wait_ms(request: Request, text: str | None) -> int | None:
    if text is None:
        return None
    wait_ms = parse_ms(_span(text), bare="specification", field="wait")
    longest = request.world.limits.wait_ms_max
    if wait_ms > longest:
        raise ValidationError(f"wait must be at most {longest:,} ms (wait_ms_max): ask again when it is over", field="wait")
    return wait_ms


async def _until_over(request: Request, run_id: str, wait_ms: int) -> Run[Any]:
    engine = request.world.engine
    others = [asyncio.ensure_future(request.world.stopping.wait()), asyncio.ensure_future(request.until_gone())]
    watching = asyncio.ensure_future(first_of(request, others, wait_ms / 1000))
    limit = asyncio.timeout(None)

    def end(watching: "asyncio.Task[None]") -> None:
        if not watching.cancelled():
            watching.exception()
            with contextlib.suppress(RuntimeError):  # the run is over by now
                limit.reschedule(-1)

    watching.add_done_callback(end)
    try:
        # Awaited here, and not by a task of its own: whoever asks is answered in the turn of the loop in which the end is known.
        async with limit:
            return await engine.wait(run_id, None)
    except TimeoutError:
        watching.result()
        return await engine.get_run(run_id)
    finally:
        for task in (watching, *others):
            task.cancel()


def _span(text: str) -> Duration:
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text[:20])


async def list_(request: Request) -> Answer:
    """List runs, newest first."""
    query = request.query(ListQuery)
    identity = request.identity
    if identity.workflows and (query.workflow_name is None or not identity.sees(query.workflow_name)):
        raise PermissionDeniedError("this key may list runs only of the workflows that it was made for: name one as workflowName")
    only = run_filter(
        query.workflow_name, query.status, query.parent_run_id, query.tag, query.created_after, query.created_before,
        query.include,
    )  # fmt: skip
    engine = request.world.engine

    async def fetch(cursor: str | None, count: int) -> tuple[list[Run[Any]], str | None]:
        found = await engine.get_runs(only, count, cursor)
        return found.items, found.next_cursor

    if not query.include:
        return answer(await engine.get_runs(only, query.limit, query.cursor))
    return await page(fetch, query.cursor, query.limit, bytes_max=request.world.limits.answer_bytes_max)


async def patch(request: Request) -> Answer:
    """Change a run, or its status."""
    request.query(NoQuery)
    run_id = request.parts["runId"]
    body = await request.body(PatchBody)
    done = _STEERING.get(body.status or "")
    is_update = (body.tags, body.priority, body.max_events, body.execution_timeout) != (None, None, None, None)
    request.action = " ".join([*(["updateRun"] if is_update or done is None else []), *([done] if done else [])])
    await request.world.must_see(request.identity, run_id)
    engine = request.world.engine
    if is_update:
        update = update_request(body.tags, body.priority, body.max_events, body.execution_timeout)
        await engine.update_run(run_id, update)
    match body.status:
        case "paused":
            return answer(await engine.pause(run_id))
        case "running":
            return answer(await engine.resume(run_id))
        case "pending":
            return answer(await engine.retry(run_id))
        case "cancelled":
            return answer(await _cancelled(request, run_id, body.reason))
        case None:
            return answer(await engine.get_run(run_id))


async def _cancelled(request: Request, run_id: str, reason: str | None) -> Run[Any]:
    run = await request.world.engine.cancel(run_id, reason, True)
    if run.status in {"completed", "failed"}:
        raise Problem(409, "conflict", f"run {run_id!r} is {run.status} and cannot be cancelled")
    return run


async def cancel(request: Request) -> Answer:
    """End a run: 202, or 200 if it was over already."""
    query = request.query(CancelQuery)
    run_id = request.parts["runId"]
    engine = request.world.engine
    before = await engine.get_run(run_id)
    request.world.must_show(request.identity, before)
    if before.is_over:
        return answer(before)
    after = await engine.cancel(run_id, query.reason, query.children)
    return answer(after, 200 if after.status in {"completed", "failed"} else 202)


async def children(request: Request) -> Answer:
    """List the children of a run, newest first."""
    query = request.query(PageQuery)
    engine = request.world.engine
    run = await engine.get_run(request.parts["runId"])
    request.world.must_show(request.identity, run)
    only = run_filter(None, None, run.run_id, None, None, None, ())
    found = await engine.get_runs(only, query.limit, query.cursor)
    found.items[:] = [each for each in found.items if request.identity.sees(each.workflow_name)]
    return answer(found)


async def parent(request: Request) -> Answer:
    """Show the parent of a run."""
    request.query(NoQuery)
    engine = request.world.engine
    run = await engine.get_run(request.parts["runId"])
    request.world.must_show(request.identity, run)
    if run.parent_run_id is None:
        raise NotFoundError(f"run {run.run_id!r} has no parent")
    above = await engine.get_run(run.parent_run_id)
    request.world.must_show(request.identity, above)
    return answer(above)


async def why(request: Request) -> Answer:
    """Say why a run is not moving."""
    request.query(NoQuery)
    run_id = request.parts["runId"]
    await request.world.must_see(request.identity, run_id)
    return answer(Why(run_id=run_id, why=await request.world.engine.why(run_id)))


async def set_step_result(request: Request) -> Answer:
    """Record the result of a step of a paused run by hand."""
    request.query(NoQuery)
    run_id = request.parts["runId"]
    body = await request.body(StepResultBody)
    await request.world.must_see(request.identity, run_id)
    engine = request.world.engine
    text = request.text(body.value, "value")
    return answer(await engine.set_step_result(run_id, request.parts["stepId"], text, check_name(body.reason, "reason")))


async def fork(request: Request) -> Answer:
    """Make a run that shares the history of another."""
    request.query(NoQuery)
    run_id = request.parts["runId"]
    body = await request.body(ForkBody)
    await request.world.must_see(request.identity, run_id)
    wanted = ForkRequest(
        run_id=body.run_id or new_id(), from_event=body.from_event, version=body.version,
        input=None if body.input is UNSET else request.text(body.input, "input"),
    )  # fmt: skip
    run = await request.world.engine.fork(run_id, wanted)
    return answer(run, *_made(request, run))
