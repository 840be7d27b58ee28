"""What the token of a hook says of itself, to whoever reads it. Made and proved by ``engine/hook_tokens``."""

import base64
from typing import Final, NamedTuple

from stepwell.checks import check_run_id
from stepwell.errors import NotFoundError

PREFIX: Final = "swh"
BODY_HOOK: Final = "s"
"""How the ids of hooks begin that a workflow's own code asks for: each belongs to a step, which records its token."""


class TokenParts(NamedTuple):
    """What a token says of itself. Not to be believed before the HMAC was compared."""

    run_id: str
    hook_id: str
    expires_ms: int


def parse_token(token: object) -> TokenParts:
    """Take a token apart.

    Raises:
        NotFoundError: It is none. The text is the same for whatever is wrong with it.
    """
    try:
        prefix, run, hook_id, expires, _key_id, _mac = str(token).split(".")
        parts = TokenParts(check_run_id(base64.urlsafe_b64decode(_padded(run)).decode()), hook_id, int(expires, 16))
    except ValueError:
        raise unknown_hook() from None
    if prefix != PREFIX:
        raise unknown_hook()
    return parts


def unknown_hook() -> NotFoundError:
    """Return the error for a token that names no hook."""
    return NotFoundError("there is no such hook")


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
