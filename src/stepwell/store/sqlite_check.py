"""Verifying what must always be true of the tables: one statement a rule, each answers with the runs that break it."""

from typing import Final

from stepwell.store.sqlite_connection import Connection
from stepwell.store.sqlite_rows import all_rows
from stepwell.store.statements import statement

_AT_MOST: Final = 20
"""How many offenders a rule names."""

_RULES: Final = {
    "check_histories": "run {0}: its history is not numbered from 1 to {1} without a gap",
    "check_final_events": "run {0}: a run that is over has one final event, the last, and others have none; this one has {1}",
    "check_owners": "run {0}: its owner {1} has no row",
    "check_mailboxes": "run {0}: its mailbox counts to {1}, but that is not what is in it",
    "check_consumed": "run {0}: more messages are transcribed than there are ({1})",
    "check_stuck": "run {0}: nobody owns it, it is not due, and it waits for nothing (status {1})",
    "check_keys": "run {0}: an idempotency key names it, but there is no such run (key {1})",
    "check_strays": "run {0}: there are rows of its {1}, but no such run",
}

_STATEMENTS: Final = {name: statement(f"common/{name}") for name in _RULES}


def check(connection: Connection) -> list[str]:
    """Return what is wrong, a sentence each."""
    wrong = [f"SQLite: {text}" for (text,) in all_rows(connection, "PRAGMA integrity_check(20)") if text != "ok"]
    for name, sentence in _RULES.items():
        rows = all_rows(connection, _STATEMENTS[name], _AT_MOST)
        wrong += [sentence.format(*row) for row in rows]
    return wrong
