"""Durations and points in time at the public door."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.durations import LONGEST_MS, format_ms, from_ms, parse_ms, to_ms
from stepwell.errors import InvalidDurationError, ValidationError


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("0.3s", 300),
        ("10m", 600_000),
        ("1h30m", 5_400_000),
        ("7d", 604_800_000),
        ("1.5h", 5_400_000),
        ("1m1ms", 60_001),
        ("1s1s", 2_000),
        ("0.0001ms", 1),
        ("0.5ms0.5ms", 1),
        ("00000001s", 1_000),
    ],
)
def test_a_text_is_read(text, ms):
    for bare in ("specification", "ms", "s"):
        assert parse_ms(text, bare=bare) == ms


@pytest.mark.parametrize(
    ("number", "specification", "ms", "s"),
    [
        (0, 0, 0, 0),
        (0.0, 0, 0, 0),
        (10, 10_000, 10, 10_000),
        (999, 999_000, 999, 999_000),
        (999.9, 999_900, 1_000, 999_900),
        (1000, 1_000, 1_000, 1_000_000),
        (1000.5, 1_001, 1_001, 1_000_500),
        (5000, 5_000, 5_000, 5_000_000),
        (0.1, 100, 1, 100),
        (1e-9, 1, 1, 1),
    ],
)
def test_a_bare_number_means_what_its_place_says(number, specification, ms, s):
    assert parse_ms(number, bare="specification") == specification
    assert parse_ms(number, bare="ms") == ms
    assert parse_ms(number, bare="s") == s


def test_numbers_of_derived_types_are_numbers():
    class Wait(IntEnum):
        LONG = 2_000

    class Measured(float):
        def __repr__(self):
            return "about that much"

    assert parse_ms(Wait.LONG, bare="ms") == 2_000
    assert parse_ms(Measured(0.25), bare="s") == 250


def test_a_timedelta_is_rounded_up():
    assert parse_ms(timedelta(hours=1, minutes=30), bare="specification") == 5_400_000
    assert parse_ms(timedelta(0), bare="specification") == 0
    assert parse_ms(timedelta(microseconds=1), bare="specification") == 1
    assert parse_ms(timedelta(milliseconds=7, microseconds=1), bare="s") == 8


REFUSED = [
    -1,
    -0.5,
    math.nan,
    math.inf,
    -math.inf,
    1e300,
    10**5000,
    -(10**5000),
    True,
    False,
    None,
    [],
    b"1s",
    timedelta(seconds=-1),
    timedelta.max,
    timedelta.min,
    "",
    " ",
    "s",
    "1",
    "1.5",
    "1e3s",
    "-1s",
    "+1s",
    "1 s",
    " 1s",
    "1s ",
    "1s\n",
    "1S",
    "1y",
    "1.s",
    ".5s",
    "1,5s",
    "\u0661s",
    "nan",
    "infs",
    "9" * 90 + "d",
    "9" * 10_000 + "s",
    "1s" * 10_000,
]


@pytest.mark.parametrize(
    "value", REFUSED, ids=lambda value: f"{type(value).__name__}-{str(value)[:20] if type(value) is not int else 'int'}"
)
@pytest.mark.parametrize("bare", ["specification", "ms", "s"])
def test_anything_else_is_refused_with_the_field_named(value, bare):
    with pytest.raises(InvalidDurationError) as caught:
        parse_ms(value, bare=bare, field="retry_delay")
    assert caught.value.field == "retry_delay"
    assert str(caught.value).startswith("retry_delay: ")
    assert len(str(caught.value)) < 400


def test_the_error_shows_the_forms():
    with pytest.raises(InvalidDurationError) as caught:
        parse_ms("soon", bare="specification", field="timeout")
    for form in ("'soon'", '"250ms"', '"1h30m"', "timedelta", "milliseconds from 1000 upward, seconds below"):
        assert form in str(caught.value)
    assert caught.value.code == "invalid_duration"


def test_a_hundred_years_are_the_longest():
    assert parse_ms("36525d", bare="ms") == LONGEST_MS
    assert parse_ms(LONGEST_MS, bare="ms") == LONGEST_MS
    with pytest.raises(InvalidDurationError, match="too long"):
        parse_ms(LONGEST_MS + 1, bare="ms")
    with pytest.raises(InvalidDurationError, match="too long"):
        parse_ms("36525d1ms", bare="ms")


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (250, "250ms"),
        (1_500, "1s500ms"),
        (5_400_000, "1h30m"),
        (604_800_000, "7d"),
        (90_061_001, "1d1h1m1s1ms"),
        (-1_000, "-1s"),
    ],
)
def test_a_duration_is_written(ms, text):
    assert format_ms(ms) == text


@given(st.integers(0, LONGEST_MS))
def test_what_is_written_is_read_back(ms):
    assert parse_ms(format_ms(ms), bare="specification") == ms


@given(st.timedeltas(timedelta(0), timedelta(days=36_525)))
def test_a_parsed_timedelta_is_never_shorter_and_less_than_a_millisecond_longer(span):
    parsed = timedelta(milliseconds=parse_ms(span, bare="ms"))
    assert span <= parsed < span + timedelta(milliseconds=1)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.timezones()))  # noqa: DTZ001
def test_a_point_in_time_comes_back_never_earlier(when):
    back = from_ms(to_ms(when, field="start_at"))
    assert timedelta(0) <= back - when < timedelta(milliseconds=1)


def test_points_in_time_are_utc():
    assert from_ms(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert from_ms(1_700_000_000_123).isoformat() == "2023-11-14T22:13:20.123000+00:00"
    assert to_ms(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), field="at") == 0
    assert to_ms(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), field="at") == -1_000
    assert to_ms(datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), field="at") == 1


def test_the_ends_of_the_calendar_are_points_in_time_too():
    for zone in (UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))):
        assert to_ms(datetime.max.replace(tzinfo=zone), field="at") > to_ms(datetime.min.replace(tzinfo=zone), field="at")


@pytest.mark.parametrize("when", [datetime(2026, 1, 1), date(2026, 1, 1), "2026-01-01T00:00:00Z", 0, None])  # noqa: DTZ001
def test_a_point_in_time_without_a_zone_is_refused(when):
    with pytest.raises(ValidationError, match=r"start_at: .*time zone") as caught:
        to_ms(when, field="start_at")
    assert caught.value.field == "start_at"
