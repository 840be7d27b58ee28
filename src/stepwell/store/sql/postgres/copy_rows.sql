-- Rows of a table as they were in another database.
-- Differs because: only a PostgreSQL is moved to.
INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb)
