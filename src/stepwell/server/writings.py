"""What workers elsewhere have written to collections: each write is checked as one that comes as a request.

What is wrong with a write is recorded in its place, as what became of the call: the code that asked for it is told so. What no
worker says is a ``ProtocolError``.
"""

from collections.abc import Container, Sequence
from typing import Final

import msgspec

from stepwell import codec
from stepwell.errors import PermissionDeniedError, StepwellError
from stepwell.progress import NewEvent, Progress, RecordWrite, WriteRecords, Writing
from stepwell.records.contents import check_collection, check_id, check_match, write_of
from stepwell.settings import Settings


class _Marks(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What the worker says of a call: the rest of the event is composed in the commit."""

    fingerprint: str = ""
    inserted: bool = False


class ProtocolError(Exception):
    """A worker said what it must not say: its connection is closed for it."""


_marks: Final = msgspec.json.Decoder(_Marks).decode
_encode: Final = msgspec.json.Encoder().encode


def with_writings(progress: Progress, *, writings_max: int, forbidden: Container[str], settings: Settings) -> Progress:
    """Return a progress with its writings checked.

    Args:
        progress: As it was sent.
        writings_max: How many there may be.
        forbidden: Collections that the key of this connection may not write to.
        settings: The engine's.

    Raises:
        ProtocolError: A writing belongs to no event that could tell of it, or there are too many.
    """
    if len(progress.writings) > writings_max:
        raise ProtocolError(f"more than {writings_max} writings in one progress")
    events, last = list(progress.events), -1
    for writing in progress.writings:
        if not last < writing.place < len(events):
            raise ProtocolError(f"a writing with place {writing.place}: places rise, and are those of events")
        last = writing.place
        events[last] = _stub(events[last])
    writings = [_checked(writing, forbidden, settings) for writing in progress.writings]
    return msgspec.structs.replace(progress, events=events, writings=writings)


def _stub(event: NewEvent) -> NewEvent:
    if event.type != "step_completed":
        raise ProtocolError(f"a writing that an event of type {event.type!r} tells of")
    try:
        return event._replace(payload=_encode(_marks(event.payload)).decode())
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the event of a writing says what the server says: {error}") from None


def _checked(writing: Writing, forbidden: Container[str], settings: Settings) -> Writing:
    request = writing.request
    try:
        check_collection(request.collection)
        if request.collection in forbidden:
            raise PermissionDeniedError(f"this key lacks the scope 'records:{request.collection}:w'")
        writes = _writes(request, settings)
    except StepwellError as error:
        return msgspec.structs.replace(writing, refused=error)
    most = settings.payload_bytes_max
    return msgspec.structs.replace(
        writing, request=msgspec.structs.replace(request, writes=writes, result_bytes_max=most)
    )  # fmt: skip


def _writes(request: WriteRecords, settings: Settings) -> Sequence[RecordWrite]:
    if request.is_one and len(request.writes) != 1:
        raise ProtocolError(f"one record with {len(request.writes)} writes")
    return [_write(each, "data" if request.is_one else f"data/{place}", settings) for place, each in enumerate(request.writes)]


def _write(write: RecordWrite, field: str, settings: Settings) -> RecordWrite:
    check_id(write.id, f"{field}/id")
    check_match(write.if_match)
    if write.action == "delete":
        return msgspec.structs.replace(write, data="{}")
    limit, depth = settings.payload_bytes_max, settings.depth_max
    data = codec.parse(write.data, field=field, limit_bytes=limit, depth_max=depth)
    return write_of(
        write.action, data, id=write.id, if_match=write.if_match, field=field, limit_bytes=limit, depth_max=depth
    )  # fmt: skip
