-- What the last events of these runs say. JSON list of [run_id, payload].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(runs.run_id, events.payload)), '[]')::text
FROM runs JOIN events ON events.run_id = runs.run_id AND events.seq = runs.seq
WHERE runs.run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
