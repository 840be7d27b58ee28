-- Tombstones, the oldest first. JSON list of [run_id, seq, mailbox_seq, workflow, key].
SELECT json_group_array(json_array(run_id, seq, mailbox_seq, workflow, idempotency_key)) FROM (
    SELECT run_id, seq, mailbox_seq, workflow, idempotency_key FROM runs WHERE status = 6 ORDER BY created_at, run_id LIMIT $1
)
