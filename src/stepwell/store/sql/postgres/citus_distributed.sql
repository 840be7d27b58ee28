-- The tables that are distributed, or on every machine, already.
-- Differs because: only a PostgreSQL can be one.
SELECT coalesce(json_agg(relname), '[]')::text FROM pg_dist_partition JOIN pg_class ON pg_class.oid = logicalrelid
WHERE relnamespace = current_schema()::regnamespace
