-- Whether a table holds anything.
-- Differs because: only a PostgreSQL is moved to.
SELECT EXISTS (SELECT 1 FROM {table})
