-- Tombstones of which nothing else is left, by run id.
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM runs WHERE status = 6 AND run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
