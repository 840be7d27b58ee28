"""Routes of histories and signals."""

from collections.abc import AsyncIterator
from typing import Final

from stepwell.checks import check_name
from stepwell.client.requests import event_type, new_id, signal_request
from stepwell.model import Event
from stepwell.server.answers import Answer, answer, encode
from stepwell.server.bodies import Accepted, EventBody, EventsQuery, NoQuery, SignalBody
from stepwell.server.paging import page
from stepwell.server.problems import BadField, invalid
from stepwell.server.requests import Request
from stepwell.server.streams import EVENT_STREAM, stream

_SEQ_DIGITS_MAX: Final = 15


async def emit(request: Request) -> Answer:
    """Append a user's event to a run's history."""
    request.query(NoQuery)
    body = await request.body(EventBody)
    world = request.world
    await world.must_see(request.identity, body.run_id)
    text = request.text(body.payload, "payload")
    event_id = new_id() if body.event_id is None else check_name(body.event_id, "event_id")
    return answer(await world.engine.emit_event(body.run_id, event_type(body.event_type), text, event_id), 201)


async def signal(request: Request) -> Answer:
    """Send a signal: 202, or 200 if its id was sent before."""
    request.query(NoQuery)
    run_id = request.parts["runId"]
    body = await request.body(SignalBody)
    world = request.world
    await world.must_see(request.identity, run_id)
    sent = signal_request(body.name, body.payload, body.signal_id, world.engine.settings)
    is_new = await world.engine.send_signal(run_id, sent)
    return answer(Accepted(run_id=run_id, name=sent.name, signal_id=sent.signal_id), 202 if is_new else 200)


async def events(request: Request) -> Answer:
    """Show a run's history, or, as an event stream, follow it to its end."""
    query = request.query(EventsQuery)
    run_id = request.parts["runId"]
    world = request.world
    await world.must_see(request.identity, run_id)
    after = max(query.after, last_event_id(request.headers.get("last-event-id")))
    if EVENT_STREAM in request.headers.get("accept", ""):
        await world.engine.get_run(run_id)  # a run that does not exist is a 404, and no stream that breaks off
        return Answer(200, media=EVENT_STREAM, stream=_stream(request, run_id, after), headers={"x-accel-buffering": "no"})

    async def fetch(cursor: str | None, count: int) -> tuple[list[Event], str | None]:
        found = await world.engine.get_events(run_id, int(cursor or 0), count)
        return found, str(found[-1].seq) if len(found) == count else None

    return await page(fetch, str(after), query.limit, bytes_max=world.limits.answer_bytes_max)


def last_event_id(text: str | None) -> int:
    """Return the number that a stream is to go on behind."""
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _SEQ_DIGITS_MAX):
        raise invalid([BadField("/Last-Event-ID", "Last-Event-ID must be the number of an event", "header")])
    return int(text)


def _stream(request: Request, run_id: str, after: int) -> AsyncIterator[bytes]:
    recorded = request.world.engine.stream_events(run_id, after).__aiter__()
    return stream(request, b": the history of a run; it ends after the final event\n\n", recorded, _frame)


def _frame(event: Event) -> bytes:
    # A type is the user's own word and may hold anything but control characters; the data is JSON, and so one line.
    return f"id: {event.seq}\nevent: {event.event_type}\ndata: ".encode() + encode(event) + b"\n\n"
