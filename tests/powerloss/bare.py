"""A workload without any engine, and how to read what it left: proves the log, the disk's model and the checker themselves.

``bare.py FOLDER SYNCHRONOUS [ack-early]`` runs under ``disklog.c``.
"""

import sys
from pathlib import Path
from random import Random

import apsw

from tests.powerloss.facts import DamagedError, Witness

DATABASE = "bare.db"


def commit_and_die(folder: Path, *, synchronous: str, ack_early: bool) -> None:
    """Commit to a table, checkpoint often, and die. With ``ack_early`` each commit is acknowledged before it is made."""
    witness = Witness(folder)
    random = Random(1)
    connection = apsw.Connection(str(folder / DATABASE))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", synchronous)
    connection.pragma("wal_autocheckpoint", 40)
    with connection:
        connection.execute("CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT)")
        connection.execute("CREATE TABLE total(rows INTEGER)")
        connection.execute("INSERT INTO total VALUES (0)")
    for number in range(80):
        facts = {f"row/{number}/{random.random()}": "x" * random.randrange(3000) for _ in range(random.randrange(1, 5))}
        if ack_early:
            witness.acknowledge(facts)
        with connection:
            connection.executemany("INSERT INTO facts VALUES (?, ?)", list(facts.items()))
            connection.execute("UPDATE total SET rows = rows + ?", (len(facts),))
        if not ack_early:
            witness.acknowledge(facts)
    witness.kill()


def read(connection: apsw.Connection) -> dict[str, str]:
    """Return the rows.

    Raises:
        DamagedError: There is half a transaction.
    """
    total = connection.execute("SELECT rows FROM total").get
    facts = dict[str, str](connection.execute("SELECT name, value FROM facts").fetchall())
    if total != len(facts):
        raise DamagedError(f"{len(facts)} rows where {total} were written")
    return facts


if __name__ == "__main__":
    where, how, *options = sys.argv[1:]
    commit_and_die(Path(where), synchronous=how, ack_early="ack-early" in options)
