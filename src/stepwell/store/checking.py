"""What must always be true of the tables: one statement a rule, each answers with the runs that break it."""

from typing import Final, NamedTuple

_AT_MOST: Final = 20


class Rule(NamedTuple):
    """A statement, and how to say that a row of its answer is wrong."""

    statement: str
    sentence: str
    at_most: int = _AT_MOST
    """How many offenders are named."""


RULES: Final = (
    Rule("check_histories", "run {0}: its history is not numbered from 1 to {1} without a gap"),
    Rule(
        "check_final_events",
        "run {0}: a run that is over has one final event, the last, and others have none; this one has {1}",
    ),
    Rule("check_owners", "run {0}: its owner {1} has no row"),
    Rule("check_mailboxes", "run {0}: its mailbox counts to {1}, but that is not what is in it"),
    Rule("check_consumed", "run {0}: more messages are transcribed than there are ({1})"),
    Rule("check_stuck", "run {0}: nobody owns it, it is not due, and it waits for nothing (status {1})"),
    Rule("check_keys", "run {0}: an idempotency key names it, but there is no such run (key {1})"),
    Rule("check_tags", "run {0}: it has tags by which no list finds it ({1})"),
    Rule("check_collections", "collection {0}: there are {1} of it, but its row does not know of them"),
    Rule("check_record_keys", "collection {0}: an index names record {1}, but there is none"),
    Rule("check_strays", "run {0}: there are rows of its {1}, but no such run"),
)
