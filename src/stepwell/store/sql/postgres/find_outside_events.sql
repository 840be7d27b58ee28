-- Which of these events from outside are stored. JSON list of [run_id, step_id, seq, type].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(stored.run_id, stored.step_id, stored.seq, stored.type)), '[]')::text
FROM jsonb_array_elements($1::jsonb) AS asked (value)
JOIN events AS stored ON stored.run_id = asked.value ->> 0 AND stored.step_id = asked.value ->> 1
WHERE stored.step_id LIKE 'event:%'
