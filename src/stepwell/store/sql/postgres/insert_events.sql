-- Events, with the numbers that this commit gave them.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO events (run_id, seq, type, step_id, name, payload, at)
SELECT run_id, seq, type, step_id, name, payload, at FROM jsonb_to_recordset($1::jsonb) AS given (
    run_id text, seq bigint, type text, step_id text, name text, payload text, at bigint
)
