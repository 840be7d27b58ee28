"""Looking through what was logged for what is secret: keys, tickets, tokens of hooks, passwords in addresses."""

import logging
import re
from typing import Final

from stepwell.server.logs import Formatter

_SECRET: Final = re.compile(
    r"""swk_[a-z0-9]{8}_(?!\[redacted\])\S+ | swt_[a-z0-9]*_(?!\[redacted\])\S+ | swh\.(?!\[redacted\])\S+
    | hooks/(?!\[redacted\])[^\s"']+
    | authorization["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?(?!\[redacted\]|bearer\s|basic\s)[^\s"']+
    | ://[^\s:/@]*:(?!\[redacted\])[^\s/@]+@""",
    re.IGNORECASE | re.VERBOSE,
)
_TELLING: Final = ("swk_", "swt_", "swh.", "hooks/", "authorization", "://")
"""Where none of this occurs there is nothing to be found: most records cost no more than this one look."""


def secrets_in(text: str) -> list[str]:
    """Return what should not stand there."""
    lowered = text.lower()
    return _SECRET.findall(text) if any(word in lowered for word in _TELLING) else []


class Watch(logging.Handler):
    """Looks at all that is logged in this process, as a server would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._formatter = Formatter(is_human=False)

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        said = f"{record.getMessage()} {record.__dict__}".lower()
        if record.exc_info or any(word in said for word in _TELLING):
            self.found += secrets_in(self._formatter.format(record))
