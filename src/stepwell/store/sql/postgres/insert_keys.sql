-- Idempotency keys of new runs.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO idempotency (workflow, key, run_id, input_hash)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3
FROM jsonb_array_elements($1::jsonb) AS given (value)
