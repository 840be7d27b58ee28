"""Problem details of a server, back to the errors that they were there."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from stepwell.errors import (
    AuthenticationError,
    ConflictError,
    HookExpired,
    InvalidDurationError,
    NotFoundError,
    NotSerializableError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    StepwellError,
    UnavailableError,
    ValidationError,
)
from stepwell.model import Run
from stepwell.remote.values import WireHook, hook_of, read_run

_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")


class _BadField(msgspec.Struct):
    pointer: str = ""


class _Problem(msgspec.Struct, rename="camel"):
    title: str = ""
    detail: str = ""
    code: str = ""
    errors: list[_BadField] = []
    hook: WireHook | None = None
    limit: str | None = None
    outcome_known: bool = False
    """What does not say so may have been done: a proxy does not know."""


_read: Final = msgspec.json.Decoder(_Problem).decode
_PLAIN: Final[dict[str, Callable[[str], StepwellError]]] = {
    kind.code: kind for kind in (AuthenticationError, HookExpired, NotFoundError, PayloadTooLargeError, PermissionDeniedError)
}
_FIELDS: Final[dict[str, type[ValidationError]]] = {
    kind.code: kind for kind in (ValidationError, InvalidDurationError, NotSerializableError)
}
_BY_STATUS: Final[dict[int, str]] = {
    401: "authentication", 403: "permission_denied", 404: "not_found", 409: "conflict", 410: "hook_expired",
    413: "payload_too_large", 422: "validation", 429: "rate_limited", 502: "unavailable", 503: "unavailable",
    504: "unavailable",
}  # fmt: skip


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> StepwellError:
    """Return the error that an answer stands for."""
    try:
        problem = _read(body)
    except msgspec.MsgspecError:
        problem = _Problem(detail=f"the server answered {status}")
    text = problem.detail or problem.title or f"the server answered {status}"
    code = problem.code if problem.code in _KNOWN else _BY_STATUS.get(status, "")
    if code in _PLAIN:
        return _PLAIN[code](text)
    if code in _FIELDS:
        return _invalid(_FIELDS[code], text, problem)
    if code == ConflictError.code:
        return ConflictError(text, None if problem.hook is None else hook_of(problem.hook))
    if code == RateLimitedError.code:
        return RateLimitedError(text, retry_after=_seconds(headers), limit=problem.limit)
    if code == UnavailableError.code:
        return UnavailableError(text, outcome_known=problem.outcome_known)
    return StepwellError(f"the server answered {status}: {text}")


def _invalid(kind: type[ValidationError], text: str, problem: _Problem) -> ValidationError:
    """Say the field as Python says it."""
    wire = problem.errors[0].pointer.lstrip("/") if problem.errors else ""
    top, slash, rest = wire.partition("/")
    name = snake(top)
    if name != top:
        text = re.sub(rf"\b{re.escape(top)}\b", name, text, count=1)
    return kind(text, field=name + slash + rest)


def _seconds(headers: Mapping[str, str]) -> float | None:
    given: Any = headers.get("retry-after", "")
    return float(given) if given.isdigit() else None


def snake(name: str) -> str:
    """Return a name of the wire as Python has it."""
    return _CAPITAL.sub(lambda found: "_" + found[1].lower(), name)


_NULL: Final = Raw(b"null")


class _Item(msgspec.Struct):
    status: int
    run: Raw = _NULL
    problem: Raw = _NULL


class _Batch(msgspec.Struct):
    items: list[_Item]


_batch: Final = msgspec.json.Decoder(_Batch).decode


def read_batch(body: bytes) -> list[Run[Any] | StepwellError]:
    """Read an answer that is what became of each of many triggers."""
    return [
        read_run(bytes(item.run)) if item.run != _NULL else error_of(item.status, {}, bytes(item.problem))
        for item in _batch(body).items
    ]


_KNOWN: Final = {*_PLAIN, *_FIELDS, ConflictError.code, RateLimitedError.code, UnavailableError.code}
