"""Errors on the wire: problem details (RFC 9457) with a stable ``code``, and a JSON pointer for each bad field."""

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Final

import msgspec

from stepwell.errors import (
    AuthenticationError,
    ConflictError,
    HookExpired,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    StepwellError,
    UnavailableError,
    ValidationError,
)
from stepwell.server.answers import Answer, encode, shown

MEDIA: Final = "application/problem+json"
_SNAKE: Final = re.compile(r"_([a-z])")
_TITLES: Final = {
    400: "Bad request", 401: "No valid key", 403: "Not allowed", 404: "Not found", 405: "Method not allowed", 408: "Too slow",
    409: "Conflict", 410: "Gone", 413: "Too large", 414: "URL too long", 415: "Unsupported media type", 421: "Wrong host",
    422: "Invalid input", 429: "Too many requests", 431: "Headers too large", 500: "Internal error", 503: "Unavailable",
}  # fmt: skip


class BadField(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that is wrong with a request: where it is, and what."""

    pointer: str
    """A JSON pointer into the body; or a slash and the name of the parameter or header."""
    detail: str
    in_: str = msgspec.field(default="body", name="in")
    """``body``, ``query``, ``path`` or ``header``."""


class ProblemDetails(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str = ""
    errors: list[BadField] = []
    limit: str | None = None
    """The setting that was exceeded."""
    hook: Any = None
    """The hook that was answered before, with the answer that stands."""
    outcome_known: bool | None = None
    """With status 503: true if certainly nothing was done, false if it may have been done."""


class Problem(Exception):
    """A request that is refused.

    Attributes:
        status: The HTTP status.
        code: What it is, for programs; it never changes.
        errors: The bad fields.
        limit: The setting that was exceeded, or None.
        outcome_known: Of an error of the store: whether certainly nothing was done.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, errors: Sequence[BadField] = (), limit: str | None = None,
        headers: Mapping[str, str] | None = None, hook: Any = None, outcome_known: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.limit = limit
        self.headers = headers or {}
        self.hook = hook
        self.outcome_known = outcome_known

    def details(self, request_id: str = "") -> ProblemDetails:
        """Return what its body holds."""
        return ProblemDetails(
            type=f"urn:stepwell:problem:{self.code}", title=_TITLES.get(self.status, "Error"), status=self.status,
            detail=self.detail, code=self.code, request_id=request_id, errors=list(self.errors), limit=self.limit,
            hook=shown(self.hook), outcome_known=self.outcome_known,
        )  # fmt: skip

    def answer(self, request_id: str) -> Answer:
        """Return it as an answer."""
        return Answer(self.status, encode(self.details(request_id)), media=MEDIA, headers=self.headers)


def invalid(errors: Sequence[BadField]) -> Problem:
    """Return the problem of a request whose fields are wrong."""
    said = "; ".join(each.detail for each in errors[:5])
    return Problem(422, "validation", said, errors=errors)


def too_large(detail: str, limit: str, status: int = 413) -> Problem:
    """Return the problem of a request that exceeds a limit."""
    return Problem(status, "payload_too_large", detail, limit=limit)


def problem_of(error: StepwellError) -> Problem:
    """Return what an error of the engine is on the wire."""
    text = str(error)
    match error:
        case PayloadTooLargeError():
            field = camel(text.partition(":")[0])
            return Problem(413, error.code, _renamed(text, field), errors=[_bad(field, text)], limit="payload_bytes_max")
        case ValidationError():
            field = camel(error.field)
            detail = _renamed(text, error.field)
            return Problem(422, error.code, detail, errors=[_bad(field, detail)] if error.field else ())
        case NotFoundError():
            return Problem(404, error.code, text)
        case HookExpired():
            return Problem(410, error.code, text)
        case ConflictError():
            hook = error.hook
            if hook is not None and hook.state != "executed":
                return Problem(410, error.code, text, hook=hook)
            return Problem(409, error.code, text, hook=hook)
        case AuthenticationError():
            return Problem(401, error.code, text, headers={"www-authenticate": 'Bearer realm="stepwell"'})
        case PermissionDeniedError():
            return Problem(403, error.code, text)
        case RateLimitedError():
            after = {} if error.retry_after is None else {"retry-after": str(max(1, ceil(error.retry_after)))}
            return Problem(429, error.code, text, headers=after, limit=error.limit)
        case UnavailableError():
            return Problem(503, error.code, text, headers={"retry-after": "1"}, outcome_known=error.outcome_known)
        case _:
            return Problem(500, "internal", "something went wrong that nobody has foreseen; the log has it under this request id")


def internal() -> Problem:
    """Return the problem of an error that must not be shown."""
    return problem_of(StepwellError())


def camel(name: str) -> str:
    """Return a name of Python as the wire has it."""
    return _SNAKE.sub(lambda found: found[1].upper(), name)


def _bad(field: str, detail: str) -> BadField:
    return BadField(f"/{field}" if field else "", detail)


def _renamed(text: str, field: str) -> str:
    top = field.partition("/")[0]
    return re.sub(rf"\b{re.escape(top)}\b", camel(top), text, count=1) if "_" in top else text
