-- The runs that hold these idempotency keys. JSON list of [workflow, key, run_id].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(held.workflow, held.key, held.run_id)), '[]')::text
FROM jsonb_array_elements($1::jsonb) AS asked (value)
JOIN idempotency AS held ON held.workflow = asked.value ->> 0 AND held.key = asked.value ->> 1
