"""Values to JSON and back."""

import dataclasses
import json
import math
import os
import subprocess
import sys
import typing
from collections import OrderedDict, namedtuple
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from inspect import Signature
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepwell.codec import canonical_hash, decode, decoder_for, encode, fingerprint, parse
from stepwell.errors import NotSerializableError, PayloadTooLargeError, ValidationError
from stepwell.model import ErrorDetails, Event, Hook, Page, Run, WaitingFor

NOW = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)
BIG = 10**1000 - 1


class Colour(Enum):
    RED = "red"


class Mixed(Enum):
    WORD = "word"
    NUMBER = 7


class Fruit(StrEnum):
    PEAR = "pear"


class Level(IntEnum):
    HIGH = 3


class Address(TypedDict):
    street: str
    since: datetime


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal = Decimal("1.50")


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    lines: list[Line]
    at: datetime | None = None
    notes: dict[str, object] = dataclasses.field(default_factory=dict)


class Parcel(msgspec.Struct, rename="camel"):
    order_id: int
    weight: float | msgspec.UnsetType = msgspec.UNSET


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True, array_like=True):
    name: str
    tricks: list[str] = []


class Point(NamedTuple):
    x: int
    y: int = 0


class Customer(pydantic.BaseModel):
    name: str = pydantic.Field(alias="fullName")
    born: date | None = None
    scores: list[int] = []

    @pydantic.computed_field
    @property
    def shout(self) -> str:
        return self.name.upper()


class Supplier(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    id: UUID
    at: datetime


@pydantic.dataclasses.dataclass
class Account:
    number: int = pydantic.Field(gt=0)


@dataclasses.dataclass
class Sale:
    customer: Customer
    total: int


@dataclasses.dataclass
class Tree:
    children: "list[Tree]"


class Opaque:
    """No JSON form, and a repr that gives its address away."""


def stored(value, **options):
    return encode(value, field="input", **options)


def round_trip(value, kind=None):
    return decode(stored(value), kind)


def slowly(value):
    """The text that the slow walk makes of a value: a key that is no string sends it there."""
    text = stored([value, {0: 0}])
    assert text.startswith("[")
    assert text.endswith(',{"0":0}]')
    return text[1 : -len(',{"0":0}]')]


def run(**fields):
    return Run(**{"run_id": "r-1", "workflow_name": "w", "status": "pending", "created_at": NOW, "updated_at": NOW} | fields)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
KEYS = TEXTS | st.sampled_from(["$stepwell", "$$stepwell", "$$$stepwell", "x$stepwell", "$stepwell ", "null", "\\u0000"])
NUMBERS = st.integers() | st.integers(-BIG, BIG) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


# --- plain values -----------------------------------------------------------------------------------------------------


@given(JSON)
@example({"$stepwell": "Run", "$$stepwell": {"$stepwell": None}})
@example(["\\u0000", '"$stepwell"', {'a"b': "]}\\"}, 1e308, -1.7976931348623157e308, 5e-324])
def test_plain_values_come_back_as_json_makes_of_them(value):
    assert repr(round_trip(value)) == repr(json.loads(json.dumps(value)))


@given(JSON)
def test_the_slow_walk_and_the_fast_path_make_the_same_text(value):
    assert slowly(value) == stored(value)


@given(JSON)
def test_what_is_stored_may_also_come_from_outside(value):
    assert repr(parse(json.dumps(value), field="body")) == repr(json.loads(json.dumps(value)))
    assert parse(json.dumps(value, indent=2).encode(), field="body") == value


@pytest.mark.parametrize("value", [None, False, 0, 0.0, -0.0, "", [], {}, (), set()])
def test_empty_values_are_values(value):
    expected = [] if value in ((), set()) else value
    assert repr(round_trip(value)) == repr(expected)


def test_keys_keep_their_order():
    assert list(round_trip({"b": 1, "a": 2, "": 3})) == ["b", "a", ""]


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 2**200, BIG, -BIG, 10**999], ids=int.bit_length)
def test_integers_up_to_a_thousand_digits_are_exact(number):
    assert round_trip([number]) == [number]
    assert parse(str(number), field="body") == number
    assert round_trip({"total": number}, dict[str, int]) == {"total": number}


@pytest.mark.parametrize("number", [BIG + 1, -BIG - 1, 10**4000, 10**5000], ids=int.bit_length)
def test_longer_integers_are_refused(number):
    with pytest.raises(ValidationError, match=r"^input/a/0: .*1,000 digits") as caught:
        stored({"a": [number]})
    assert caught.value.field == "input/a/0"


# --- what Python has and JSON has not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (NOW, "2026-11-22T12:30:15.123456Z"),
        (datetime(2026, 1, 1, 5), "2026-01-01T05:00:00"),  # noqa: DTZ001
        (date(2026, 1, 1), "2026-01-01"),
        (time(5, 6), "05:06:00"),
        (timedelta(hours=1), "PT3600S"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\xff\0", "/wA="),
        (bytearray(b"a"), "YQ=="),
        (Colour.RED, "red"),
        (Mixed.NUMBER, 7),
        (Fruit.PEAR, "pear"),
        (Level.HIGH, 3),
        ((1, (2,)), [1, [2]]),
        (Point(1), [1, 0]),
        (namedtuple("Pair", "a b")(1, 2), [1, 2]),
        ({3}, [3]),
        (frozenset({"a"}), ["a"]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Line("x"), {"sku": "x", "price": "1.50"}),
        (Order([Line("x")], NOW), {"lines": [{"sku": "x", "price": "1.50"}], "at": "2026-11-22T12:30:15.123456Z", "notes": {}}),
        (Parcel(7), {"orderId": 7}),
        (Parcel(7, 2.5), {"orderId": 7, "weight": 2.5}),
        (Cat(9), {"type": "Cat", "lives": 9}),
        (Dog("Rex", ["sit"]), ["Dog", "Rex", ["sit"]]),
        (Customer(fullName="Ada", born=date(2000, 1, 1)), {"fullName": "Ada", "born": "2000-01-01", "scores": []}),
        (Account(number=5), {"number": 5}),
        (Sale(Customer(fullName="Ada"), 3), {"customer": {"fullName": "Ada", "born": None, "scores": []}, "total": 3}),
        (type("Markup", (str,), {})("<b>"), "<b>"),
        (type("Metres", (int,), {})(5), 5),
        (type("Kilos", (float,), {})(0.5), 0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_richer_values_come_back_as_what_json_makes_of_them(value, plain):
    assert round_trip(value) == plain
    assert round_trip({"a": [value]}) == {"a": [plain]}
    assert json.loads(slowly(value)) == plain


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (NOW, datetime),
        (NOW.astimezone(timezone(timedelta(hours=-7))), datetime),
        (datetime(2026, 1, 1, 5), datetime),  # noqa: DTZ001
        (date(2026, 1, 1), date),
        (time(5, 6, tzinfo=UTC), time),
        (timedelta(days=-1, microseconds=7), timedelta),
        (Decimal("1.50"), Decimal),
        (UUID(int=1), UUID),
        (b"\xff\0", bytes),
        (Colour.RED, Colour),
        (Level.HIGH, Level),
        ((1, "a"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        (Point(1, 2), Point),
        ({1, 2}, set[int]),
        (frozenset({"a"}), frozenset[str]),
        ({1: "a"}, dict[int, str]),
        ({Fruit.PEAR: 1}, dict[Fruit, int]),
        ({UUID(int=1): NOW}, dict[UUID, datetime]),
        (Address(street="x", since=NOW), Address),
        (Order([Line("x"), Line("y", Decimal(2))], NOW, {"a": [1]}), Order),
        ([Line("x")], list[Line]),
        ({"a": Line("x")}, dict[str, Line]),
        (None, Line | None),
        (Line("x"), Optional[Line]),  # noqa: UP045
        (Parcel(7, 2.5), Parcel),
        ([Cat(9)], list[Cat]),
        (Dog("Rex", ["sit"]), Dog),
        (Tree([Tree([])]), Tree),
        (Customer(fullName="Ada"), Customer),
        ([Customer(fullName="Ada", born=date(2000, 1, 1))], list[Customer]),
        ({"a": None}, dict[str, Customer | None]),
        (Supplier(id=UUID(int=1), at=NOW), Supplier),
        (Supplier(id=UUID(int=1), at=NOW), Customer | Supplier),
        (Account(number=5), Account),
        (Sale(Customer(fullName="Ada"), 3), Sale),
        ((Sale(Customer(fullName="Ada"), 3),), tuple[Sale]),
        (BIG, int),
    ],
    ids=lambda value: str(value)[:40],
)
def test_typed_values_come_back_equal_and_of_equal_type(value, kind):
    back = round_trip(value, kind)
    assert back == value
    assert type(back) is type(value)
    # A key that looks like stepwell's own sends the whole text another way.
    marked = decode(encode([value, {"$stepwell": 1}], field="input"), tuple[kind, dict[str, int]])
    assert marked == (value, {"$stepwell": 1})
    assert type(marked[0]) is type(value)


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ('{"price":"1"}', Line, "/sku"),
        ('{"sku":1}', Line, "/sku"),
        ('{"lines":[{"sku":"a"},{"sku":[]}]}', Order, "/lines/1/sku"),
        ('[{"sku":"a"},{}]', list[Line], "/1/sku"),
        ('{"street":"x","since":"yesterday"}', Address, "/since"),
        ('{"orderId":"7"}', Parcel, "/orderId"),
        ('{"fullName":"a","scores":[1,"x"]}', Customer, "/scores/1"),
        ('[{"fullName":"a"},{}]', list[Customer], "/1/fullName"),
        ('{"customer":{"fullName":5},"total":1}', Sale, "/customer"),
        ('{"number":0}', Account, "/number"),
        ('"green"', Colour, ""),
        ('"a"', int, ""),
        ('{"a":1}', dict[int, int], ""),
        ("null", Line, ""),
        ("{", Line, ""),
        ('{"$$stepwell":1,"price":"1"}', Line, "/sku"),
    ],
)
def test_what_does_not_fit_its_type_is_refused_with_the_place_named(text, kind, place):
    with pytest.raises(ValidationError) as caught:
        decode(text, kind, field="result")
    assert caught.value.field == f"result{place}"
    assert str(caught.value).startswith(f"result{place}: ")


def test_a_nested_model_says_where_in_it():
    with pytest.raises(ValidationError, match="/fullName"):
        decode('{"customer":{"fullName":5},"total":1}', Sale)


@pytest.mark.parametrize("kind", [Opaque, list[Opaque], complex, Iterator[int], Callable[[], int], "Line"], ids=str)
def test_a_type_that_nothing_can_be_decoded_into_is_a_type_error(kind):
    with pytest.raises(TypeError):
        decode("[]", kind)


@pytest.mark.parametrize("text", ["", "{", "nul", "[1", b'"\xff"', "[" * 100_000])
def test_a_damaged_record_is_an_error_that_can_be_caught(text):
    with pytest.raises(ValidationError, match=r"^event: "):
        decode(text, field="event")


def test_bytes_are_decoded_like_text():
    assert decode(b'{"a":"\xc3\xa9"}') == {"a": "é"}


# --- stepwell's own types ---------------------------------------------------------------------------------------------


OWN = [
    run(),
    run(
        input=[{"$stepwell": "Run"}],
        output={"a": [True]},
        tags=["x"],
        error_details=ErrorDetails(type="ValueError", message="no"),
        waiting_for=WaitingFor(kind="sleep", until=NOW),
    ),
    Event(event_id="e", run_id="r", seq=1, event_type="mine", payload={"$stepwell": 1, "n": 2**70}, created_at=NOW),
    Hook(token="t", url="u", run_id="r", name="n", action="approve", answer=[None], expires=NOW),
    Page(items=[1, "a"], next_cursor="c"),
    Page(items=[run(), run(output=Page(items=[]))]),
]


@pytest.mark.parametrize("value", OWN, ids=lambda value: type(value).__name__)
def test_own_types_come_back_as_themselves(value):
    assert round_trip(value) == value
    assert type(round_trip(value)) is type(value)
    assert round_trip({"deep": [value]}) == {"deep": [value]}
    assert round_trip(value, type(value)) == value
    assert round_trip([value], list[type(value)]) == [value]


def test_own_types_come_back_inside_typed_values():
    assert round_trip(Page(items=[run()]), Page[Run]) == Page(items=[run()])
    assert round_trip(run(), Run | None) == run()
    assert round_trip(Order([], notes={"run": run()}), Order) == Order([], notes={"run": run()})


@pytest.mark.parametrize(
    "value",
    [
        {"$stepwell": "Run"},
        {"$stepwell": "Page", "items": []},
        {"$stepwell": {"$stepwell": None}},
        {"$$stepwell": 1, "$stepwell": 2, "$$$stepwell": 3},
        [{"a$stepwell": 1}, "$stepwell", '"$stepwell"'],
    ],
)
def test_a_users_key_of_that_name_survives(value):
    assert round_trip(value) == value
    assert round_trip(Order([], notes={"x": value}), Order).notes == {"x": value}


def test_an_own_type_that_this_version_does_not_know_stays_a_dict():
    assert decode('{"$stepwell":"Comet","tail":[1]}') == {"$stepwell": "Comet", "tail": [1]}
    assert decode('{"$stepwell":[1]}') == {"$stepwell": [1]}


def test_a_damaged_own_type_is_refused():
    with pytest.raises(ValidationError, match="runId"):
        decode('{"$stepwell":"Run"}')


# --- refusals ---------------------------------------------------------------------------------------------------------


def wrapped(value):
    """A value in all the containers that a pointer has to lead through."""
    return [
        ({"a": [1, {"b": value}]}, "/a/1/b"),
        ([value], "/0"),
        ((None, value), "/1"),
        ({"a/b": {"c~d": value}}, "/a~1b/c~0d"),
        ({7: value}, "/7"),
        (Order([], notes={"x": value}), "/notes/x"),
        (Page(items=[value]), "/items/0"),
        (run(input=value), "/input"),
    ]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, type("Odd", (float,), {})("nan")], ids=str)
def test_nan_and_infinity_are_refused(number):
    for value, pointer in [(number, ""), ({number}, "/0"), (Parcel(1, number), "/weight"), *wrapped(number)]:
        with pytest.raises(ValidationError, match="has no JSON form") as caught:
            stored(value)
        assert caught.value.field == f"input{pointer}"
        assert str(caught.value).startswith(f"input{pointer}: ")


def test_null_is_not_taken_for_nan():
    assert round_trip({"a": None, "b": [None, "null"], "c": 1e308, "d": -1.5e300}) == {
        "a": None,
        "b": [None, "null"],
        "c": 1e308,
        "d": -1.5e300,
    }


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "a\udfffb", "é\ud800"], ids=ascii)
def test_texts_that_a_store_cannot_hold_are_refused(text):
    for value, pointer in [(text, ""), *wrapped(text)]:
        with pytest.raises(ValidationError, match=r"U\+0000|surrogate") as caught:
            stored(value)
        assert caught.value.field == f"input{pointer}"
        assert str(caught.value).isprintable()
    with pytest.raises(ValidationError, match=r"^input/0: a key holds"):
        stored([{text: 1}])


def test_an_escaped_nul_is_no_nul():
    assert round_trip(["\\u0000", "\\\\u0000", {"\\u0000": 1}]) == ["\\u0000", "\\\\u0000", {"\\u0000": 1}]


@pytest.mark.parametrize(
    "value",
    [object(), Opaque(), ValueError("x"), int, len, lambda: 1, 1j, Fraction(1, 3), Path(), iter([])],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_json_form_is_refused_with_its_place(value):
    for whole, pointer in [(value, ""), *wrapped(value)]:
        with pytest.raises(NotSerializableError, match="has no JSON form") as caught:
            stored(whole)
        assert caught.value.pointer == pointer
        assert caught.value.field == f"input{pointer}"
        assert str(caught.value).startswith(f"input{pointer}: ")
        assert type(value).__name__ in str(caught.value)
        assert " at 0x" not in str(caught.value)


def test_a_users_serialiser_that_raises_is_a_value_without_a_form():
    class Vault(pydantic.BaseModel):
        secret: str

        @pydantic.model_serializer
        def refuse(self) -> str:
            raise KeyError("no")

    with pytest.raises(NotSerializableError, match=r"^input/a/0: .*Vault") as caught:
        stored({"a": [Vault(secret="x")]})
    assert caught.value.__cause__ is not None


def test_bytes_that_a_model_cannot_write_are_refused():
    class Blob(pydantic.BaseModel):
        content: bytes

    with pytest.raises(NotSerializableError, match=r"^input/0: "):
        stored([Blob(content=b"\xff")])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({1: "a", 2: "b"}, {"1": "a", "2": "b"}),
        ({True: 1, None: 2, False: 3}, {"true": 1, "null": 2, "false": 3}),
        ({1.5: 1}, {"1.5": 1}),
        ({Colour.RED: 1, Mixed.NUMBER: 2, Level.HIGH: 3}, {"red": 1, "7": 2, "3": 3}),
        ({date(2026, 1, 1): 1, UUID(int=1): 2}, {"2026-01-01": 1, "00000000-0000-0000-0000-000000000001": 2}),
        ({b"\xff": 1}, {"/w==": 1}),
    ],
)
def test_keys_become_what_json_makes_of_them(value, plain):
    assert round_trip(value) == plain
    assert round_trip([value]) == [plain]


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b"},
        {None: 1, "null": 2},
        {True: 1, "true": 2},
        {Colour.RED: 1, "red": 2},
        {date(2026, 1, 1): 1, "2026-01-01": 2},
    ],
    ids=str,
)
def test_keys_that_json_cannot_tell_apart_are_refused(value):
    for whole, pointer in [(value, ""), *wrapped(value)]:
        with pytest.raises(ValidationError, match="two keys") as caught:
            stored(whole)
        assert caught.value.field == f"input{pointer}"


def test_keys_without_a_form_are_refused():
    with pytest.raises(NotSerializableError, match=r"^input/0: a key of type tuple") as caught:
        stored([{(1, 2): 3}])
    assert caught.value.pointer == "/0"
    for key in (10**1000, math.nan, math.inf):
        with pytest.raises(ValidationError, match=r"^input: "):
            stored({key: 1})


def nested(depth, leaf=None, kind=list):
    value = leaf
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_nesting_up_to_the_bound_is_stored_and_deeper_is_refused(kind):
    assert round_trip(nested(100, kind=kind)) == nested(100, kind=kind)
    for depth in (101, 150, 100_000):
        with pytest.raises(ValidationError, match="nests deeper than 100") as caught:
            stored(nested(depth, kind=kind))
        assert caught.value.field.startswith("input/")
        assert len(str(caught.value)) < 300
    assert stored(nested(3, kind=kind), depth_max=3)
    with pytest.raises(ValidationError, match="nests deeper than 3"):
        stored(nested(4, kind=kind), depth_max=3)


def test_brackets_in_texts_are_no_nesting():
    for text in ("[" * 500, "{[" * 500, '"[' * 500, "\\" * 501 + "[" * 500, "]" * 500):
        value = {"\\": text, text: ["\\\\", text, '\\"', {"a": text, "b\\": text}]}
        assert round_trip(value) == value
        assert parse(json.dumps(value), field="body") == value


@pytest.mark.parametrize("text", ["\\", '"', '\\"', '"\\', "\\\\", ""])
def test_no_text_hides_nesting_or_repeated_keys(text):
    with pytest.raises(ValidationError, match="nests deeper than 100"):
        stored([text, nested(100)])
    with pytest.raises(ValidationError, match="nests deeper than 100"):
        parse(json.dumps([text, nested(100)]), field="body")
    with pytest.raises(ValidationError, match="'a' appears twice"):
        parse(f'[{json.dumps(text)},{{"a":1,"a":2}}]', field="body")


def test_many_neighbours_are_no_nesting():
    value = [[{"a": []}, {}] for _ in range(1_000)]
    assert round_trip(value) == value
    assert stored(value, depth_max=4)
    with pytest.raises(ValidationError, match="nests deeper than 3"):
        stored(value, depth_max=3)


def test_a_value_that_contains_itself_is_refused():
    a_list = []
    a_list.append(a_list)
    a_dict = {}
    a_dict["self"] = {"again": a_dict}
    for value in (a_list, a_dict, Order([], notes={"x": a_list})):
        for depth_max in (100, 1_000_000):
            with pytest.raises(ValidationError, match="nests"):
                stored(value, depth_max=depth_max)


@pytest.mark.parametrize("last", ["a", "é", "€", "\U0001d11e"])
def test_the_limit_is_exact_in_utf8_bytes(last):
    room = 1024 * 1024 - len('""') - len(last.encode())
    exact = "x" * room + last
    assert round_trip(exact) == exact
    with pytest.raises(PayloadTooLargeError, match=r"^input: ") as caught:
        stored("x" + exact)
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (1024 * 1024 + 1, 1024 * 1024)
    text = json.dumps(exact, ensure_ascii=False)
    assert parse(text, field="body") == exact
    for longer in (text + " ", (text + " ").encode()):
        with pytest.raises(PayloadTooLargeError, match=r"^body: ") as caught:
            parse(longer, field="body")
        assert (caught.value.size_bytes, caught.value.limit_bytes) == (1024 * 1024 + 1, 1024 * 1024)


def test_the_limit_holds_on_the_slow_path_too():
    assert stored({1: "x" * 92}, limit_bytes=100) == '{"1":"' + "x" * 92 + '"}'
    with pytest.raises(PayloadTooLargeError) as caught:
        stored({1: "x" * 93}, limit_bytes=100)
    assert caught.value.size_bytes == 101


# --- from outside -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"  ",
        b"{",
        b"[1,]",
        b"[1] 2",
        b"{'a':1}",
        b'{"a":1,}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 101 + b"]" * 101,
        b"1" * 5_000,
        b"[" + b"1" * 1_001 + b"]",
        b"-" + b"1" * 1_001,
        b"1e400",
        b"-1e400",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"01",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud800x"',
        b'{"\\ud800":1}',
        b'"\\u0000"',
        b'{"\\u0000":1}',
        b'"\0"',
        b'"\n"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":{"":1, "b":[] , "":2}}]',
        b"\xef\xbb\xbf[]",
        "[]".encode("utf-16"),
        "[]".encode("utf-16-le"),
        "[]".encode("utf-16-be"),
        "[]".encode("utf-32"),
        "[]".encode("utf-32-be"),
        "\ufeff[]",
        '"\ud800"',
        "\0",
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_bad_json_from_outside_is_refused_with_the_field_named(text):
    with pytest.raises(ValidationError, match=r"^body") as caught:
        parse(text, field="body")
    assert caught.value.field.startswith("body")
    assert len(str(caught.value)) < 400
    str(caught.value).encode()


@pytest.mark.parametrize(
    "text", [b"\xef\xbb\xbf[]", "\ufeff[]", "[]".encode("utf-16"), "[]".encode("utf-16-be"), "[]".encode("utf-32")]
)
def test_another_encoding_is_called_that(text):
    with pytest.raises(ValidationError, match="must be JSON in UTF-8, without a byte order mark"):
        parse(text, field="body")


def test_errors_from_outside_point_to_the_place():
    with pytest.raises(ValidationError) as caught:
        parse(b'{"a":[1,{"b":"\\u0000"}]}', field="body")
    assert caught.value.field == "body/a/1/b"
    with pytest.raises(ValidationError, match="'x' appears twice"):
        parse(b'{"a":{"x":1,"y":0,"x":2}}', field="body")


@pytest.mark.parametrize("text", ['{"a":":","b:":1,"c\\":\\"":{"d":":\\\\"}}', '{"a":1, "b" : {"a":2}}', '[{"a":1},{"a":1}]'])
def test_colons_and_quotes_in_texts_are_no_repeated_keys(text):
    assert parse(text, field="body") == json.loads(text)


def test_numbers_from_outside_keep_their_kind():
    assert repr(parse(b"[1, 1.0, 1e2, 18446744073709551616, -0.0, 1E-400]", field="body")) == (
        "[1, 1.0, 100.0, 18446744073709551616, -0.0, 0.0]"
    )


def test_a_foreign_mark_is_only_a_key():
    value = parse(b'{"$stepwell":"Run","runId":"x"}', field="body")
    assert value == {"$stepwell": "Run", "runId": "x"}
    assert round_trip(value) == value


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_parsing_anything_gives_a_storable_value_or_a_clear_error(text):
    try:
        value = parse(text, field="body")
    except ValidationError as error:
        assert error.field.startswith("body")  # noqa: PT017
    else:
        assert round_trip(value) == value


def arrays(inner):
    return st.lists(inner, max_size=3).map(lambda items: "[" + " , ".join(items) + "]")


def objects(inner):
    members = st.tuples(st.sampled_from(['"a"', '"b"', '"\\u0061"', '"a:"', '"\\"a"']), inner)
    return st.lists(members, max_size=3).map(lambda pairs: "{" + ",".join(f"{key} :{value}" for key, value in pairs) + "}")


@given(
    st.recursive(
        st.sampled_from(["1", '"a"', "null", '"\\""', '"[:"']), lambda inner: objects(inner) | arrays(inner), max_leaves=20
    )
)
def test_a_key_is_found_repeated_exactly_where_it_is(text):
    repeated = []
    expected = json.loads(text, object_pairs_hook=lambda pairs: repeated.append(len(dict(pairs)) != len(pairs)) or dict(pairs))
    if any(repeated):
        with pytest.raises(ValidationError, match="appears twice"):
            parse(text, field="body")
    else:
        assert parse(text, field="body") == expected


# --- equality of input ------------------------------------------------------------------------------------------------


def test_equal_json_has_an_equal_hash():
    assert canonical_hash('{"a":1,"b":[1,2]}') == canonical_hash(b' { "b" : [1, 2], "\\u0061":1 }')
    assert canonical_hash("100.0") == canonical_hash("1e2")
    assert len(canonical_hash("null")) == 16
    assert int(canonical_hash("null"), 16) >= 0


def test_other_json_has_another_hash():
    texts = [
        "1",
        "1.0",
        "true",
        "null",
        '"1"',
        "[1]",
        "[[1]]",
        '{"1":1}',
        "[1,2]",
        "[2,1]",
        "{}",
        "[]",
        '""',
        str(BIG),
        str(BIG - 1),
    ]
    assert len({canonical_hash(text) for text in texts}) == len(texts)


@given(st.dictionaries(KEYS, JSON))
def test_the_hash_does_not_know_the_order_of_keys(value):
    assert canonical_hash(stored(value)) == canonical_hash(stored(dict(reversed(value.items()))))


# --- fingerprints -----------------------------------------------------------------------------------------------------


def test_no_arguments_have_no_fingerprint():
    assert fingerprint((), {}) == ""


def test_a_fingerprint_is_eight_hex_digits_that_follow_the_arguments():
    calls = [
        ((1,), {}),
        ((1.0,), {}),
        (("1",), {}),
        ((1, 2), {}),
        (([1, 2],), {}),
        ((), {"a": 1}),
        ((), {"b": 1}),
        (({"a": 1},), {}),
        ((1,), {"a": 1}),
    ]
    prints = [fingerprint(*call) for call in calls]
    assert len(set(prints)) == len(prints)
    assert all(len(each) == 8 and int(each, 16) >= 0 for each in prints)


def test_the_order_of_keys_does_not_change_a_fingerprint():
    assert fingerprint(({"a": 1, "b": 2},), {"x": 1, "y": 2}) == fingerprint(({"b": 2, "a": 1},), {"y": 2, "x": 1})
    assert fingerprint(({1: "a", 2: "b"},), {}) == fingerprint(({2: "b", 1: "a"},), {})


def test_an_argument_without_a_form_counts_as_present_and_no_more():
    assert fingerprint((Opaque(),), {}) == fingerprint((Opaque(),), {}) == fingerprint((len,), {})
    assert fingerprint(([Opaque()], {1: 2}), {}) == fingerprint(([object()], {1: 2}), {})
    assert fingerprint((Opaque(), 1), {}) != fingerprint((Opaque(), 2), {})
    assert fingerprint((Opaque(),), {}) != fingerprint((Opaque(), Opaque()), {})
    assert fingerprint((), {"a": {1: 2}, "b": Opaque()}) != fingerprint((), {"a": {1: 3}, "b": Opaque()})


def test_a_fingerprint_never_raises():
    class Sour(pydantic.BaseModel):
        @pydantic.model_serializer
        def refuse(self) -> str:
            raise KeyError("no")

    loop = []
    loop.append(loop)
    for value in (
        "\ud800",
        "\0",
        math.nan,
        10**5000,
        loop,
        nested(100_000),
        Sour(),
        {(1,): 2},
        {1: 2, "1": 3},
        {Opaque(), 1},
        {1, "a"},
    ):
        for args, kwargs in (((value,), {}), (([value],), {}), ((), {"a": value})):
            assert len(fingerprint(args, kwargs)) == 8


def test_rich_arguments_count_with_their_content():
    values = [
        Line("a"),
        Line("b"),
        NOW,
        NOW + timedelta(1),
        Customer(fullName="a"),
        Customer(fullName="b"),
        {1, 2},
        {1, 3},
        run(),
        BIG,
    ]
    assert len({fingerprint((value,), {}) for value in values}) == len(values)
    assert [fingerprint((value,), {}) for value in values] == [fingerprint((value,), {}) for value in values]


FINGERPRINTS = """
from stepwell.codec import fingerprint
class Opaque: pass
words = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}
print(list(words))
print(fingerprint((words, {"deep": [frozenset(words)]}), {"k": words, "a": 1}))
print(fingerprint((words | {1, 2.5, None}, Opaque(), {1: words}), {}))
"""


def test_fingerprints_are_equal_in_every_process():
    outputs = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", FINGERPRINTS], env=environment, capture_output=True, text=True, check=True)
        outputs.append(done.stdout.splitlines())
    assert outputs[0][0] != outputs[1][0], "the seeds do not change the order of the set: this test shows nothing"
    assert outputs[0][1:] == outputs[1][1:]
    assert outputs[0][1] != outputs[0][2]


# --- annotations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "annotation",
    [
        Signature.empty,
        None,
        type(None),
        Any,
        object,
        str,
        int,
        float,
        bool,
        dict,
        list,
        dict[str, Any],
        dict[str, int],
        Mapping[str, object],
        list[dict[str, list[float | None]]],
        Sequence[str],
        str | None,
        int | str | list[bool],
        Literal["a", 1],
        Annotated[int, "unit"],
        Awaitable[int],
        Mixed,
        typing.TypeVar("T"),
        "Line",
        Opaque,
        list[Opaque],
        complex,
        Path,
        Iterator[int],
        Callable[[], int],
        typing.NoReturn,
        datetime | date,
        Annotated[int, []],
        list["Nowhere"],  # noqa: F821
    ],
    ids=str,
)
def test_annotations_that_ask_for_nothing(annotation):
    assert decoder_for(annotation) is None


@pytest.mark.parametrize(
    "annotation",
    [
        datetime,
        date,
        time,
        timedelta,
        Decimal,
        UUID,
        bytes,
        Colour,
        set,
        set[str],
        frozenset[int],
        tuple,
        tuple[int, str],
        dict[int, str],
        Address,
        Line,
        Order,
        list[Line],
        dict[str, Line],
        Line | None,
        Optional[Line],  # noqa: UP045
        Parcel,
        Cat | None,
        Tree,
        Point,
        Customer,
        list[Customer],
        Customer | None,
        Customer | Supplier,
        Account,
        Sale,
        Annotated[int, pydantic.Field(gt=3)],
        Run,
        Page[Run],
        list[Run] | None,
    ],
    ids=str,
)
def test_annotations_that_say_what_to_decode_into(annotation):
    assert decoder_for(annotation) == annotation


def test_an_awaitable_is_decoded_into_what_it_gives():
    assert decoder_for(Awaitable[Line]) is Line
    assert decoder_for(Coroutine[Any, Any, list[Line]]) == list[Line]


def test_an_annotation_is_looked_at_again_once_its_names_are_defined():
    @dataclasses.dataclass
    class Early:
        later: "LaterDefined"  # noqa: F821

    assert decoder_for(Early) is None
    globals()["LaterDefined"] = int
    try:
        assert decoder_for(Early) is Early
    finally:
        del globals()["LaterDefined"]


def test_pydantic_is_not_imported_for_those_who_do_not_use_it():
    program = """
import sys, dataclasses
from stepwell.codec import decode, decoder_for, encode
@dataclasses.dataclass
class A: n: int
assert decode(encode([A(1)], field="x"), decoder_for(list[A])) == [A(1)]
class Either:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler): ...
for attempt in (lambda: encode(object(), field="x"), lambda: decode("1", Either)):
    try: attempt()
    except TypeError: print("pydantic" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\nFalse\n"
