"""``@now`` and its kin: times of UTC, made from the clock of the store when a filter is used."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from stepwell.records.expressions import Comparison, Every, Expression, Moment, Some

_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(ms: int) -> str:
    """Return a time as records carry it: RFC 3339 in UTC with milliseconds, so that texts sort as times do."""
    return shown(_EPOCH + timedelta(milliseconds=ms))


def later(than: str, now_ms: int) -> str:
    """Return the time now, or what comes next after ``than``, so that no two states of a record carry the same time."""
    now = timestamp(now_ms)
    if now > than:
        return now
    return shown(datetime.fromisoformat(than) + timedelta(milliseconds=1))


def shown(when: datetime) -> str:
    """Return the same of an aware datetime; what is finer than milliseconds is cut off."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _end(start: datetime) -> datetime:
    """Return the last millisecond before a time."""
    return start - timedelta(milliseconds=1)


def _month_end(now: datetime) -> datetime:
    return _end((_day(now).replace(day=1) + 32 * _DAY).replace(day=1))


MOMENTS: Final[dict[str, Callable[[datetime], datetime | int]]] = {
    "@now": lambda now: now,
    "@yesterday": lambda now: now - _DAY,
    "@tomorrow": lambda now: now + _DAY,
    "@todayStart": _day,
    "@todayEnd": lambda now: _end(_day(now) + _DAY),
    "@monthStart": lambda now: _day(now).replace(day=1),
    "@monthEnd": _month_end,
    "@yearStart": lambda now: _day(now).replace(month=1, day=1),
    "@yearEnd": lambda now: _end(_day(now).replace(year=now.year + 1, month=1, day=1)),
    "@second": lambda now: now.second,
    "@minute": lambda now: now.minute,
    "@hour": lambda now: now.hour,
    "@weekday": lambda now: now.isoweekday() % 7,
    "@day": lambda now: now.day,
    "@month": lambda now: now.month,
    "@year": lambda now: now.year,
}
"""``@weekday`` is 0 on Sundays."""


def settle(where: Expression, now_ms: int) -> Expression:
    """Return the filter with every moment replaced by what it is now."""
    match where:
        case Comparison(path, operator, Moment(name), any_of):
            found = MOMENTS[name](_EPOCH + timedelta(milliseconds=now_ms))
            return Comparison(path, operator, found if isinstance(found, int) else shown(found), any_of)
        case Comparison():
            return where
        case Every(parts):
            return Every(tuple(settle(part, now_ms) for part in parts))
        case Some(parts):
            return Some(tuple(settle(part, now_ms) for part in parts))
