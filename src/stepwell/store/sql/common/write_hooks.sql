-- Hooks that were made or answered.
INSERT INTO hooks (
    run_id, hook_id, seq, name, action, payload, expires, created_at, answer_id, answer, answered_at
) VALUES {rows}
ON CONFLICT (run_id, hook_id) DO UPDATE SET
    answer_id = excluded.answer_id, answer = excluded.answer, answered_at = excluded.answered_at
