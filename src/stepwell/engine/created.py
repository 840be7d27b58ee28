"""The payload of ``run_created``: all that a trigger said of a run. Written once, read when the run is loaded or shown."""

from typing import Final

import msgspec

from stepwell.engine.api import TriggerRequest


class Created(msgspec.Struct, rename="camel", omit_defaults=True):
    """What ``run_created`` holds. Durations in milliseconds; ``seed`` is what the run's random numbers derive from."""

    input: msgspec.Raw
    seed: str
    tags: list[str] = []
    parent_run_id: str | None = None
    idempotency_key: str | None = None
    priority: int = 0
    delay: int = 0
    max_events: int | None = None
    execution_timeout: int | None = None

    @property
    def input_text(self) -> str:
        """The input's JSON text."""
        return bytes(self.input).decode()


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Created).decode


def created_payload(request: TriggerRequest, *, seed: str, max_events: int) -> str:
    """Return the payload for a trigger."""
    return _encode(
        Created(
            input=msgspec.Raw(request.input.encode()), seed=seed, tags=request.tags, parent_run_id=request.parent_run_id,
            idempotency_key=request.idempotency_key, priority=request.priority, delay=request.delay_ms, max_events=max_events,
            execution_timeout=request.execution_timeout_ms,
        )
    ).decode()  # fmt: skip


def forked_payload(payload: str, input: str | None) -> str:
    """Return the payload for a fork of a run that has this one: with another input, if it is given. It starts at once, and has
    neither the key nor the parent.

    Raises:
        msgspec.MsgspecError: Somebody has edited it.
    """
    created = _decode(payload)
    given = created.input if input is None else msgspec.Raw(input.encode())
    kept = msgspec.structs.replace(created, input=given, parent_run_id=None, idempotency_key=None, delay=0)
    return _encode(kept).decode()


def read_created(payload: str) -> Created:
    """Read it back.

    Raises:
        msgspec.MsgspecError: Somebody has edited it.
    """
    return _decode(payload)
