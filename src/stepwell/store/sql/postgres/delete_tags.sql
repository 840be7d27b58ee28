-- Tags of runs that have others now, or are no more.
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM run_tags WHERE run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
