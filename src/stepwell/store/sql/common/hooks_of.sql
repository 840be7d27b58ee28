-- The hooks of a run, in the order in which they were made.
SELECT run_id, hook_id, seq, name, action, payload, expires, created_at, answer_id, answer, answered_at
FROM hooks WHERE run_id = $1 ORDER BY seq
