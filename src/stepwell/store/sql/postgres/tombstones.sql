-- Tombstones, the oldest first. JSON list of [run_id, seq, mailbox_seq, workflow, key].
-- Differs because: several nodes remove at once, and each skips what another has locked.
WITH picked AS MATERIALIZED (
    SELECT run_id, seq, mailbox_seq, workflow, idempotency_key FROM runs
    WHERE status = 6 ORDER BY created_at, run_id LIMIT $1 FOR UPDATE SKIP LOCKED
)
SELECT coalesce(json_agg(json_build_array(run_id, seq, mailbox_seq, workflow, idempotency_key)), '[]')::text FROM picked
