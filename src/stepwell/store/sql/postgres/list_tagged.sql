-- Runs with a tag, newest first. Tombstones are not shown; the sum keeps the index of statuses out of it.
-- Differs because: SQLite is told by CROSS where to begin.
SELECT {run}
FROM (SELECT run_id AS tagged_id, created_at AS tagged_at, tag FROM run_tags) AS tagged JOIN runs ON run_id = tagged_id
WHERE {where} AND status + 0 < 6 ORDER BY tagged_at DESC, tagged_id DESC
