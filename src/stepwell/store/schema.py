"""Which schema a store has, as told by who looks at it without bringing it up to this code."""

from typing import NamedTuple


class Schema(NamedTuple):
    """The number of a store's newest migration, and of the newest that this code knows."""

    name: str
    """Of the store, for people."""
    number: int
    newest: int
