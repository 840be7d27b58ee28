-- The tags by which a run is listed are those that its row has.
SELECT run_id, tags FROM runs
WHERE tags <> '[]' AND status + 0 < 6 AND NOT EXISTS (SELECT 1 FROM run_tags WHERE run_tags.run_id = runs.run_id)
LIMIT $1
