-- Whether a write was done: a list with its place, or an empty one.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(seq), '[]')::text FROM record_changes WHERE collection = $1 AND write_id = $2 AND write_id <> ''
