"""What a database that speaks PostgreSQL's protocol may lack, and how the statements do without.

PostgreSQL has all of it. Whatever else answers is found out at start by trying: it is asked to EXPLAIN the very statements, which
plans them and does nothing. ``?without=`` of the address switches off by hand.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from stepwell.errors import ValidationError


class Capabilities(NamedTuple):
    """What a database can do."""

    notify: bool = True
    """LISTEN and NOTIFY. Without, nodes look twice a second whether others have written."""
    skip_locked: bool = True
    """Without, those who look for runs wait for each other, and look again at what they have found."""
    multi_row_for_update: bool = True
    """Without, rows are locked by an UPDATE that changes nothing, at twice the writing."""
    data_modifying_cte: bool = True
    """Without, each table is written by a statement of its own."""
    lateral: bool = True
    """Recursive and lateral questions, which jump through an index. Without, all that is due or owned is read."""
    rows_max: int = 0
    """Rows that one transaction may write, 0 for any number. A batch that would write more is divided."""
    bytes_max: int = 0
    """The same in bytes."""

    @property
    def missing(self) -> list[str]:
        """The names of those that are missing."""
        return [name for name in SWITCHES if not getattr(self, name)]

    def without(self, names: list[str]) -> "Capabilities":
        """Return the same without some."""
        return self._replace(**dict.fromkeys(names, False))


ALL: Final = Capabilities()

SWITCHES: Final = tuple(name for name in Capabilities._fields if not name.endswith("_max"))
"""The names of those that a database has or has not."""

TRIED: Final[dict[str, tuple[str, ...]]] = {
    "data_modifying_cte": ("insert_events", "insert_messages"),
    "skip_locked": ("bury", "late", "orphans"),
    "multi_row_for_update": ("drafts",),
    "lateral": ("poll", "due_new", "due_woken", "ends", "dead_owners", "dead_nodes_without_runs", "count_claimable"),
}
"""The statements by which it is found out whether a database has something, once it is known what it has of the ones before.
``notify`` is found out by listening."""

LOCKING: Final = {"drafts": "touch_runs", "find_collections": "touch_collections"}
"""Questions that lock what they answer with, and what is done before where they cannot."""

_SKIP: Final = re.compile(r"\s+FOR UPDATE(?: OF \w+)? SKIP LOCKED")
_LOCK: Final = re.compile(r"\s+FOR UPDATE\b")
_PARAMETER: Final = re.compile(r"\$\d+(::jsonb)?")


def from_options(given: dict[str, str]) -> Capabilities:
    """Take what is said of capabilities out of the options of an address.

    Raises:
        ValidationError: It makes no sense. ``field`` is ``url``.
    """
    without = [name for name in given.pop("without", "").split(",") if name]
    strange = [name for name in without if name not in SWITCHES]
    if strange:
        raise ValidationError(f"url: without={strange[0]!r} is none of {', '.join(SWITCHES)}", field="url")
    return Capabilities(rows_max=_limit(given, "rows_max"), bytes_max=_limit(given, "bytes_max")).without(without)


def _limit(given: dict[str, str], name: str) -> int:
    text = given.pop(name, "0")
    if not text.isdecimal():
        raise ValidationError(f"url: {name} must be a whole number, not {text!r}", field="url")
    return int(text)


def adapted(texts: Mapping[str, str], plain: Mapping[str, str], has: Capabilities) -> dict[str, str]:
    """Return the statements as a database with these capabilities understands them; ``plain`` are those that need the least."""
    result = dict(texts) if has.lateral else {**texts, **{name: text for name, text in plain.items() if name in texts}}
    result |= {name: plain[name] for name in LOCKING.values()}
    for name, text in result.items():
        if not has.skip_locked:
            text = _SKIP.sub("", text)
        if not has.multi_row_for_update and name in LOCKING:
            text = _LOCK.sub("", text)
        result[name] = text
    return result


def to_try(text: str) -> str:
    """Return a command that tells whether a statement is understood, and does nothing."""
    return "EXPLAIN " + _PARAMETER.sub(lambda found: "'[]'::jsonb" if found.group(1) else "'1'", text)
