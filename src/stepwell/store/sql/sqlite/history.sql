-- A stretch of one history, row by row. The payload comes as bytes: it may be unreadable.
SELECT run_id, seq, type, step_id, name, cast(payload AS blob), at FROM events
WHERE run_id = $1 AND seq > $2 AND seq <= $3
ORDER BY seq
