-- Runs that begin to wait for others. One that waits already waits once.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO waiters (run_id, waiter)
SELECT run_id, waiter FROM jsonb_to_recordset($1::jsonb) AS given (run_id text, waiter text)
ON CONFLICT DO NOTHING
