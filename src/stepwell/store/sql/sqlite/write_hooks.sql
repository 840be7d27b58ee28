-- Hooks that were made or answered.
INSERT OR REPLACE INTO hooks (
    run_id, hook_id, name, action, payload, expires, created_at, answer_id, answer, answered_at
) VALUES {rows}
