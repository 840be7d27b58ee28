-- Who waits for these runs. JSON list of [run_id, waiter], in the order in which they are told.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(run_id, waiter) ORDER BY run_id, waiter), '[]')::text
FROM waiters WHERE run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
