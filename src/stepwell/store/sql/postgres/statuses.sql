-- The statuses of runs. JSON list of [run_id, status].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(run_id, status)), '[]')::text
FROM runs WHERE run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb)) AND status < 6
