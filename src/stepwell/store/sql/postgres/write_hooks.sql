-- Hooks that were made or answered.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO hooks (
    run_id, hook_id, seq, name, action, payload, expires, created_at, answer_id, answer, answered_at
)
SELECT value ->> 0, value ->> 1, (value ->> 2)::bigint, value ->> 3, value ->> 4, value ->> 5, (value ->> 6)::bigint,
    (value ->> 7)::bigint, value ->> 8, value ->> 9, (value ->> 10)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (value)
ON CONFLICT (run_id, hook_id) DO UPDATE SET
    answer_id = excluded.answer_id, answer = excluded.answer, answered_at = excluded.answered_at
