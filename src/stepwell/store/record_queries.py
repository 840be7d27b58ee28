"""Which statement answers what is asked of records, and with which words: for every database."""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from stepwell.records.collections import read_settled
from stepwell.records.evaluation import find
from stepwell.records.indexing import Lookup, key_of, plan
from stepwell.store.filtering import ID, Text
from stepwell.store.plans import Parameter
from stepwell.store.records import CollectionRow, RecordQuery

_EVERYTHING: Final = ("", "9")


class Asked(NamedTuple):
    """A statement by its name, what is to be put into it, and its parameters."""

    name: str
    where: str
    order: str
    parameters: list[Parameter | float]

    def text(self, statement: str) -> str:
        """Return the statement to be asked."""
        return statement.replace("{where}", self.where).replace("{order}", self.order)


def lookup_of(row: CollectionRow | None, query: RecordQuery) -> Lookup | None:
    """Return the index that helps."""
    return None if row is None else plan(query.where, query.sort, read_settled(row.settled).indexes)


def to_count(query: RecordQuery, lookup: Lookup | None, speak: Callable[..., Text]) -> Asked:
    """Return how to count."""
    if lookup is None or (lookup.low, lookup.high) == _EVERYTHING:
        words, name = speak(query.collection), "count_records"
    else:
        words, name = speak(query.collection, lookup.index.number, lookup.low, lookup.high), "count_records_by_key"
    return Asked(name, words.where(query.where), "", words.parameters)


def to_list(query: RecordQuery, lookup: Lookup | None, speak: Callable[..., Text]) -> Asked:
    """Return how to list ids and sizes."""
    if lookup is None:
        words, name = speak(query.collection, query.limit, query.offset), "list_records"
    else:
        range_of = (query.collection, lookup.index.number, lookup.low, lookup.high)
        words, name = speak(*range_of, query.limit, query.offset), "list_records_by_key"
    where = words.where(query.where)
    if lookup is not None and lookup.is_ordered:
        last = None if query.behind is None else (key_of(lookup.index, query.behind), str(find(query.behind, ID)))
        order, behind = words.by_key(last, descending=lookup.descending)
    else:
        order, behind = words.order(query.sort, query.behind)
    return Asked(name, f"{where} AND {behind}", order, words.parameters)


decode_ids: Final = msgspec.json.Decoder(list[tuple[str, int]]).decode
"""Reads what a list answers: ids and sizes."""


def within(ids: list[tuple[str, int]], bytes_max: int) -> list[str]:
    """Return the first of some records, as many as are not too long together, but at least one."""
    size, taken = 0, list[str]()
    for record_id, length in ids:
        size += length
        if size > bytes_max and taken:
            break
        taken.append(record_id)
    return taken


def too_slow(ms_max: int) -> str:
    """Return what to say where looking took too long."""
    return f"filter: looking took longer than {ms_max:,} ms (query_ms_max): ask for less, or declare an index"
