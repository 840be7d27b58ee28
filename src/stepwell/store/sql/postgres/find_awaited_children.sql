-- Children for which these runs wait. JSON list of [run_id, its child].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(waiters.waiter, waiters.run_id) ORDER BY waiters.run_id), '[]')::text
FROM waiters JOIN runs ON runs.run_id = waiters.run_id
WHERE waiters.waiter IN (SELECT value FROM jsonb_array_elements_text($1::jsonb)) AND runs.parent_run_id = waiters.waiter
