-- Note by which tags a run is listed now. JSON list of tags.
-- Differs because: PostgreSQL has its own words for JSON.
INSERT INTO run_tags (run_id, tag, created_at)
SELECT runs.run_id, value, runs.created_at
FROM runs CROSS JOIN jsonb_array_elements_text($1::jsonb) AS given (value) WHERE runs.run_id = $2
ON CONFLICT DO NOTHING
