"""Distributing the tables. No Citus is at hand: what would be sent to one is taken down by functions of its names."""

import pytest

from stepwell.clock import Clock
from stepwell.errors import ConflictError
from stepwell.settings import Settings
from stepwell.store.citus import DISTRIBUTED, REFERENCES, distribute
from tests import postgres

_STANDS_IN = """
CREATE TABLE pg_dist_partition (logicalrelid regclass, told text);
CREATE FUNCTION create_distributed_table(t regclass, c text, colocate_with text) RETURNS void LANGUAGE sql
    AS 'INSERT INTO pg_dist_partition VALUES (t, c || '' beside '' || colocate_with)';
CREATE FUNCTION create_reference_table(t regclass) RETURNS void LANGUAGE sql
    AS 'INSERT INTO pg_dist_partition VALUES (t, ''everywhere'')'
"""


def test_a_plain_postgresql_is_refused_and_left_alone(postgres_url: str):
    with pytest.raises(ConflictError, match="no Citus"):
        distribute(postgres_url, clock=Clock(), settings=Settings())
    assert postgres.sql(postgres_url, "SELECT to_regclass('runs')::text") == [(None,)]


def test_each_table_is_distributed_once_and_what_is_left_is_finished(postgres_url: str):
    for statement in _STANDS_IN.split(";\n"):
        postgres.sql(postgres_url, statement)
    told = distribute(postgres_url, clock=Clock(), settings=Settings())
    assert told == [*REFERENCES, *DISTRIBUTED]
    assert distribute(postgres_url, clock=Clock(), settings=Settings()) == []
    postgres.sql(postgres_url, "DELETE FROM pg_dist_partition WHERE logicalrelid = 'events'::regclass")
    assert distribute(postgres_url, clock=Clock(), settings=Settings()) == ["events"]
    rows = dict(postgres.sql(postgres_url, "SELECT logicalrelid::text, told FROM pg_dist_partition"))
    assert (rows["runs"], rows["events"], rows["nodes"]) == ("run_id beside none", "run_id beside runs", "everywhere")


def test_every_key_of_a_distributed_table_has_the_column_it_is_distributed_by(postgres_url: str):
    for statement in _STANDS_IN.split(";\n"):
        postgres.sql(postgres_url, statement)
    distribute(postgres_url, clock=Clock(), settings=Settings())
    for table, (column, _) in DISTRIBUTED.items():
        asked = f"SELECT indexdef FROM pg_indexes WHERE tablename = '{table}' AND schemaname = current_schema()"
        keys = [str(row[0]) for row in postgres.sql(postgres_url, asked) if "UNIQUE" in str(row[0])]
        assert keys
        assert all(column in key.partition("(")[2] for key in keys), table
