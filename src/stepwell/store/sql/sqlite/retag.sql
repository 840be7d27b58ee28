-- Note by which tags a run is listed now. JSON list of tags.
INSERT INTO run_tags (run_id, tag, created_at)
SELECT runs.run_id, value, runs.created_at FROM runs CROSS JOIN json_each($1) WHERE runs.run_id = $2
ON CONFLICT DO NOTHING
