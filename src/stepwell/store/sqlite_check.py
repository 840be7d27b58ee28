"""Verifying a SQLite file: that it is sound as such, and what must always be true of the tables."""

from stepwell.store.checking import RULES
from stepwell.store.sqlite_connection import Connection
from stepwell.store.sqlite_rows import all_rows
from stepwell.store.statements import statement_in


def check(connection: Connection) -> list[str]:
    """Return what is wrong, a sentence each."""
    wrong = [f"SQLite: {text}" for (text,) in all_rows(connection, "PRAGMA integrity_check(20)") if text != "ok"]
    for rule in RULES:
        rows = all_rows(connection, statement_in("sqlite", rule.statement), rule.at_most)
        wrong += [rule.sentence.format(*row) for row in rows]
    return wrong
