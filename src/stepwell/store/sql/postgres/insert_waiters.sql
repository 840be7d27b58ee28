-- Runs that begin to wait for others. One that waits already waits once.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO waiters (run_id, waiter)
SELECT value ->> 0, value ->> 1
FROM jsonb_array_elements($1::jsonb) AS given (value)
ON CONFLICT DO NOTHING
