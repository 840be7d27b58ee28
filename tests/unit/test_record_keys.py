"""Keys of indexes sort as values do, and the index that is chosen leaves out nothing that fits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import ValidationError
from stepwell.records.evaluation import fits, in_order, sort_value
from stepwell.records.expressions import Comparison, Every, Expression
from stepwell.records.indexing import Index, is_held_unique, key_of, plan
from stepwell.records.sorting import SortTerm
from tests.unit.strategies import values

ONE = Index(("a",), 1, is_ready=True)
TWO = Index(("a", "b"), 2, is_ready=True)
TERM = st.builds(SortTerm, st.sampled_from([("a",), ("b",)]), st.booleans())
RECORDS = st.lists(st.fixed_dictionaries({}, optional={"a": values, "b": values}), max_size=8)


@given(values, values)
def test_keys_sort_as_values_do(one: Any, other: Any):
    mine, theirs = key_of(ONE, {"a": one}), key_of(ONE, {"a": other})
    assert (mine < theirs) == (sort_value(one) < sort_value(other))
    assert (mine == theirs) == (sort_value(one) == sort_value(other))


@given(st.tuples(values, values), st.tuples(values, values))
def test_keys_of_several_fields_sort_field_by_field(one: tuple[Any, Any], other: tuple[Any, Any]):
    mine, theirs = (key_of(TWO, {"a": pair[0], "b": pair[1]}) for pair in (one, other))
    expected = [(sort_value(pair[0]), sort_value(pair[1])) for pair in (one, other)]
    assert (mine < theirs) == (expected[0] < expected[1])


OPERATORS = st.sampled_from(["=", ">", ">=", "<", "<=", "!="])
SCALARS = values.filter(lambda value: not isinstance(value, list | dict))
COMPARISONS = st.builds(Comparison, st.sampled_from([("a",), ("b",)]), OPERATORS, SCALARS)
WHERES = st.none() | COMPARISONS | st.lists(COMPARISONS, min_size=2, max_size=4).map(lambda parts: Every(tuple(parts)))


@given(RECORDS, WHERES, st.lists(TERM, max_size=2, unique_by=lambda term: term.path))
def test_the_chosen_index_holds_all_that_fits_and_is_in_the_order_it_claims(
    records: list[dict[str, Any]], where: Expression | None, sort: list[SortTerm]
):
    for number, record in enumerate(records):
        record["id"] = f"r{number}"
    lookup = plan(where, sort, [ONE, TWO])
    if lookup is None:
        return
    keyed = [(key_of(lookup.index, record), record) for record in records]
    inside = [(key, record) for key, record in keyed if lookup.low <= key < lookup.high]
    expected = [record for record in records if where is None or fits(where, record)]
    found = [record for _, record in inside if where is None or fits(where, record)]
    assert sorted(record["id"] for record in found) == sorted(record["id"] for record in expected)
    if lookup.is_ordered:
        by_key = sorted(inside, key=lambda pair: str(pair[1]["id"]))
        by_key.sort(key=lambda pair: pair[0], reverse=lookup.descending)
        ordered = [record for _, record in by_key if where is None or fits(where, record)]
        assert ordered == in_order(expected, sort)


def test_an_index_is_chosen_by_what_it_narrows_then_by_its_order():
    def chosen(where: Expression | None, *sort: SortTerm) -> tuple[int, bool] | None:
        lookup = plan(where, sort, [ONE, TWO])
        return None if lookup is None else (lookup.index.number, lookup.is_ordered)

    a, b = Comparison(("a",), "=", 1), Comparison(("b",), ">", 1)
    assert chosen(None) is None
    assert chosen(Comparison(("b",), "=", 1)) is None
    assert chosen(a) == (1, True)
    assert chosen(Every((a, b))) == (2, False)
    assert chosen(Every((a, b)), SortTerm(("b",))) == (2, True)
    assert chosen(a, SortTerm(("b",), descending=True)) == (2, True)
    assert chosen(None, SortTerm(("a",), descending=True)) == (1, True)
    assert chosen(None, SortTerm(("a",)), SortTerm(("b",))) == (2, True)
    assert chosen(None, SortTerm(("a",)), SortTerm(("b",), descending=True)) is None


def test_an_index_that_is_not_ready_is_not_used():
    assert plan(Comparison(("a",), "=", 1), (), [Index(("a",), 1)]) is None


def test_a_value_that_is_too_long_for_a_key_is_named():
    key_of(ONE, {"a": "x" * 1_990})
    with pytest.raises(ValidationError) as raised:
        key_of(ONE, {"a": "ü" * 1_000})
    assert raised.value.field == "a"


@pytest.mark.parametrize("value", [None, [], {}, [1]])
def test_what_is_no_plain_value_is_not_held_to_be_unique(value: Any):
    unique = Index(("a",), 1, unique=True)
    assert not is_held_unique(unique, {"a": value})
    assert not is_held_unique(unique, {})
    assert is_held_unique(unique, {"a": 0})
