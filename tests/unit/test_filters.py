"""The language of filters: what it takes, what it says of what it does not take, and what it bounds."""

from datetime import UTC, datetime

import pytest

from stepwell.errors import ValidationError
from stepwell.records.building import build
from stepwell.records.evaluation import fits
from stepwell.records.expressions import Comparison, Every, Moment, Some
from stepwell.records.moments import MOMENTS, settle
from stepwell.records.parsing import parse
from stepwell.records.sorting import SortTerm, chosen, parse_fields, parse_sort

RECORD = {
    "id": "r1", "status": "pending", "n": 5, "half": 2.5, "yes": True, "none": None, "text": "It's 100% Ünsafe\\",
    "tags": ["new", "big", 3], "empty": [], "address": {"city": "Lisbon", "zip": "1000"}, "list": [{"city": "Porto"}],
}  # fmt: skip


def _fits(text: str) -> bool:
    where = parse(text)
    return where is None or fits(settle(where, 0), RECORD)


@pytest.mark.parametrize(
    "text",
    [
        "", "  // nothing\n", "n = 5", "n=5.0", "n != 6", "n > 4 && n < 6", "n >= 5 && n <= 5", "half = 2.5", "yes = true",
        "none = null", "missing = null", "missing != 'x'", "status = 'pending'", 'status = "pending"', "status != 'Pending'",
        "status ~ 'PEND'", "text ~ 'ÜNSAFE'",
        "status ~ 'p%g'", "status !~ 'x'", "n !~ '5'", "text ~ '100\\\\% Ü'", "text ~ '%nsafe\\\\'",
        "text ~ '\\%'", "text = 'It\\'s 100% \\u00dcnsafe\\\\'", "address.city = 'Lisbon'", "address.city.x = null",
        "list.city = null", "tags ?= 'new'", "tags ?= 3", "tags ?!= 'new'", "tags ?~ 'B%'", "tags != 'new'", "n ?= 5", "n ?> 4",
        "n = 6 || n = 5 && status = 'pending'", "(n = 6 || n = 5) && status = 'pending'", "id = 'r1'", "status > 'a'",
        "yes > false", "n = 5 // the end", "n // first\n = // second\n 5",
    ],
)  # fmt: skip
def test_these_fit(text: str):
    assert _fits(text)


@pytest.mark.parametrize(
    "text",
    [
        "n = '5'", "n = true", "yes = 1", "yes = 'true'", "none > 0", "none >= null", "missing <= null", "missing < 5", "n > 'a'",
        "status > 1", "text = 'it\\'s'", "tags = 'new'", "tags ?= 'old'", "empty ?= null", "empty ?!= 1", "list.city = 'Porto'",
        "status ~ 'p%x'", "status ~ 'ending%'", "text ~ 'Ü%'", "text ~ 'ünsafe'", "n ~ '5'", "address = null", "tags = null",
        "(n = 6 || n = 5) && status = 'x'", "n = 5 && status = 'x' || n = 6",
    ],
)  # fmt: skip
def test_these_do_not(text: str):
    assert not _fits(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = ", "column 5: expected a value, found the end"),
        ("a", "column 2: expected an operator, found the end"),
        ("(a = 1", "column 7: expected ), found the end"),
        ("a = 'x", "column 5: expected a value, found a text whose quotes do not end"),
        ("a = b", "column 5: expected a value, found 'b'"),
        ("1 = 1", "column 1: expected (, a field, found '1'"),
        ("a = 1 and b = 2", "column 7: expected && or ||"),
        ("a == 1", "column 4: expected a value, found '='"),
        ("a = 1 ||\n b ! 2", "line 2, column 4: expected an operator, found '! 2'"),
        ("a > @nowadays", "column 5: there is no '@nowadays'; there are @now, "),
        ("a ~ 5", "column 5: ~ compares with a text in quotes, not with '5'"),
        ("a = 1e999", "column 5: the number is too large"),
        (r"a = '\q'", "column 5: '\\\\q' is no escape"),
        (r"a = '\ud800'", "column 5: the text holds U+0000, or half a surrogate pair"),
        (r"a = '\u0000'", "column 5: the text holds U+0000"),
        ("a$b = 1", "column 2: expected an operator, found '$b = 1'"),
        ("a..b = 1", "column 2: expected an operator"),
        (f"{'n' * 65} = 1", "column 1: 'nnn"),
        ("a ~ null", "column 3: ~ compares with a text in quotes, not with 'null'"),
        ("a ~ true", "not with 'true'"),
        ("a = 1 ||\n b ~ 5", "line 2, column 6: ~ compares"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_with_what_was_expected(text: str, said: str):
    with pytest.raises(ValidationError) as raised:
        parse(text)
    assert said in str(raised.value)
    assert raised.value.field == "filter"
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        f"a = '{'x' * 2048}'",
        " || ".join(["a = 1"] * 64),
        "(" * 11 + "a = 1" + ")" * 11,
        "(" * 1000 + "a = 1" + ")" * 1000,
        f"a ~ '{'x' * 129}'",
        ".".join(["a"] * 11) + " = 1",
    ],
)
def test_a_filter_has_bounds(text: str):
    with pytest.raises(ValidationError):
        parse(text)


def test_a_filter_may_be_as_large_as_its_bounds():
    assert parse(" || ".join(["a = 1"] * 63)) is not None
    assert parse("(" * 9 + "a = 1" + ")" * 9) is not None
    assert parse(f"a ~ '{'x' * 128}'") is not None


def test_what_binds_tighter_stands_deeper():
    one, two, three = (Comparison((name,), "=", 1) for name in "abc")
    assert parse("a = 1 || b = 1 && c = 1") == Some((one, Every((two, three))))
    assert parse("(a = 1 || b = 1) && c = 1") == Every((Some((one, two)), three))


def test_moments_are_times_of_utc_as_records_carry_them():
    at = datetime(2024, 2, 29, 23, 59, 58, 700_000, tzinfo=UTC)
    now_ms = int(at.timestamp() * 1000)
    found = {name: settle(Comparison(("a",), "=", Moment(name)), now_ms) for name in MOMENTS}
    assert {name: each.value for name, each in found.items() if isinstance(each, Comparison)} == {
        "@now": "2024-02-29T23:59:58.700Z",
        "@yesterday": "2024-02-28T23:59:58.700Z",
        "@tomorrow": "2024-03-01T23:59:58.700Z",
        "@todayStart": "2024-02-29T00:00:00.000Z",
        "@todayEnd": "2024-02-29T23:59:59.999Z",
        "@monthStart": "2024-02-01T00:00:00.000Z",
        "@monthEnd": "2024-02-29T23:59:59.999Z",
        "@yearStart": "2024-01-01T00:00:00.000Z",
        "@yearEnd": "2024-12-31T23:59:59.999Z",
        "@second": 58, "@minute": 59, "@hour": 23, "@weekday": 4, "@day": 29, "@month": 2, "@year": 2024,
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [None, True, 5, -2.5, "x' || '1' = '1", 'quote " and \\ backslash', "line\nbreak", "Ünï😀", "@now", "%", datetime.now(UTC)],
)
def test_what_is_put_in_is_a_value_and_nothing_else(value: object):
    where = parse(build("a = {:v} && b != {:v}", {"v": value}))
    assert isinstance(where, Every)
    first, second = where.parts
    assert isinstance(first, Comparison)
    assert isinstance(second, Comparison)
    assert first.value == second.value
    if isinstance(value, datetime):
        assert str(first.value).startswith(value.isoformat(timespec="milliseconds").removesuffix("+00:00"))
    else:
        assert first.value == value


@pytest.mark.parametrize(
    ("template", "values", "field"),
    [
        ("a = {:v}", {}, "v"),
        ("a = 1", {"v": 1}, "v"),
        ("a = {:v}", {"v": [1]}, "v"),
        ("a = {:v}", {"v": float("nan")}, "v"),
        ("a = {:v}", {"v": datetime(2024, 1, 1)}, "v"),  # noqa: DTZ001  # that it says no zone is the point
    ],
)
def test_what_cannot_be_put_in_is_named(template: str, values: dict[str, object], field: str):
    with pytest.raises(ValidationError) as raised:
        build(template, values)
    assert raised.value.field == field


def test_sort_and_fields_are_names_with_commas_between():
    assert parse_sort("-created, +address.city,n") == (
        SortTerm(("created",), descending=True), SortTerm(("address", "city")), SortTerm(("n",))
    )  # fmt: skip
    assert parse_sort(None) == parse_sort("") == ()
    paths = parse_fields("id,address.city,missing,n.x")
    assert chosen(RECORD, paths) == {"id": "r1", "address": {"city": "Lisbon"}}
    assert chosen(RECORD, parse_fields("address,address.zip")) == {"address": {"city": "Lisbon", "zip": "1000"}}


@pytest.mark.parametrize("text", ["a,", "-", "a b", "a;b", "a'", "1a", "a,a", "a,-a", "--a", ",".join("abcdefghi"), "$a", "a.b."])
def test_a_sort_that_is_none_is_refused(text: str):
    with pytest.raises(ValidationError) as raised:
        parse_sort(text)
    assert raised.value.field == "sort"
