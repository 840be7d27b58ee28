-- Hooks that were made or answered.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO hooks (
    run_id, hook_id, seq, name, action, payload, expires, created_at, answer_id, answer, answered_at
)
SELECT run_id, hook_id, seq, name, action, payload, expires, created_at, answer_id, answer, answered_at
FROM jsonb_to_recordset($1::jsonb) AS given (
    run_id text, hook_id text, seq bigint, name text, action text, payload text, expires bigint, created_at bigint, answer_id
    text, answer text, answered_at bigint
)
ON CONFLICT (run_id, hook_id) DO UPDATE SET
    answer_id = excluded.answer_id, answer = excluded.answer, answered_at = excluded.answered_at
