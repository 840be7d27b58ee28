-- Put a small table on every machine.
-- Differs because: only a PostgreSQL can be one.
SELECT create_reference_table($1::text::regclass)
