"""What a filter may not do, whatever it is."""

from stepwell.errors import ValidationError
from stepwell.records.evaluation import fits
from stepwell.records.moments import settle
from stepwell.records.parsing import parse
from stepwell.store.postgres_filters import PostgresText
from stepwell.store.sqlite_filters import SqliteText

SEEDS = (
    "status = 'pending' && (total >= 10.5 || customer.city ~ 'lis%') // and a comment",
    r"a ?!= 'it\'s' || b !~ \"\u00dc\%\" && c = null && d.e.f < -1.5e-7",
    "created > @todayStart && weekday = @weekday || yes = true && (no != false)",
)
MESSAGE_LENGTH_MAX = 600

_WORDS = (
    "=",
    "!=",
    "?=",
    "~",
    "&&",
    "||",
    "(",
    ")",
    "'",
    '"',
    "\\",
    "//",
    "\n",
    "@now",
    "null",
    "true",
    "1",
    "-",
    ".",
    "e",
    "a.b",
)


def feed(data: bytes) -> None:
    """Parse what these bytes say, as text and as a row of words; what parses is used."""
    for text in (data.decode("utf-8", "replace"), "".join(_WORDS[byte % len(_WORDS)] for byte in data)):
        try:
            where = parse.__wrapped__(text)  # without the cache, which would keep them all
        except ValidationError as error:
            assert error.field == "filter"  # noqa: PT017
            assert len(str(error)) <= MESSAGE_LENGTH_MAX, error  # noqa: PT017
        else:
            if where is not None:
                settled = settle(where, 0)
                fits(settled, {"a": {"b": 1}})
                for words in (SqliteText(), PostgresText()):
                    words.where(settled)
