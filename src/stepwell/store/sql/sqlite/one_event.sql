-- One event of a history. The payload comes as bytes: it may be unreadable.
SELECT seq, type, step_id, name, cast(payload AS blob), at FROM events WHERE run_id = $1 AND seq = $2
