-- Idempotency keys of new runs.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO idempotency (workflow, key, run_id, input_hash)
SELECT workflow, key, run_id, input_hash FROM jsonb_to_recordset($1::jsonb) AS given (
    workflow text, key text, run_id text, input_hash text
)
