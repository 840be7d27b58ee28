"""What a node tells others of its commits, so that they look only where there may be something for them.

A hint says what may be so. Whoever looks on a hint looks at rows; and whoever hears none looks now and then all the same.
"""

from collections.abc import Collection
from typing import Final

import msgspec


class Hint(msgspec.Struct, frozen=True, array_like=True):
    """What was committed. Without arguments: anything."""

    lanes: frozenset[tuple[str, str]] | None = None
    """Workflows, with versions, of which runs are due that nobody owns. None: of any."""
    is_later: bool = True
    """Whether runs that nobody owns will be due at a time that others do not know."""
    owners: frozenset[str] | None = None
    """Nodes whose runs have mail, or were taken away. None: any."""
    has_ended: bool = True
    """Whether runs have ended."""
    has_records: bool = True
    """Whether records were written."""

    def __or__(self, other: "Hint") -> "Hint":
        """Return what both say."""
        return Hint(
            lanes=None if self.lanes is None or other.lanes is None else self.lanes | other.lanes,
            is_later=self.is_later or other.is_later,
            owners=None if self.owners is None or other.owners is None else self.owners | other.owners,
            has_ended=self.has_ended or other.has_ended,
            has_records=self.has_records or other.has_records,
        )

    def is_for(self, node_id: str) -> bool:
        """Tell whether something may have been done to runs of this node."""
        return self.owners is None or node_id in self.owners

    def is_due(self, known: Collection[tuple[str, str]]) -> bool:
        """Tell whether runs of these workflows may be due."""
        return self.lanes is None or not self.lanes.isdisjoint(known)


ANYTHING: Final = Hint()
EVENTS: Final = Hint(frozenset(), is_later=False, owners=frozenset(), has_ended=False, has_records=False)
"""Histories have grown, and that is all."""
