-- A hint to other nodes that something was written.
-- Differs because: SQLite says so by itself, in PRAGMA data_version.
SELECT pg_notify($1, $2)
