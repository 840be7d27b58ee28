-- Nothing is stuck without a cause; and what waits for messages that are there is due.
SELECT run_id, status FROM runs
WHERE status < 3 AND owner IS NULL AND wake_at IS NULL
    AND (waiting_for IS NULL OR status = 0 OR (status = 1 AND mailbox_seq > mailbox_consumed))
LIMIT $1
