-- Give a fork events of the run that it is a fork of: those behind one number, up to another.
INSERT INTO events (run_id, seq, type, step_id, name, payload, at)
SELECT $1, seq, type, step_id, name, payload, at FROM events WHERE run_id = $2 AND seq > $3 AND seq <= $4
