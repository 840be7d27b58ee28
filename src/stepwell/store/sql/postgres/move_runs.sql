-- Write runs that changed hands, or their place among the claimable ones.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
UPDATE runs SET
    status = changed.status, owner = changed.owner, turn = changed.turn, attempt = changed.attempt, interruptions =
    changed.interruptions, streak = changed.streak, tries = changed.tries, wanted = changed.wanted, undo = changed.undo, seq =
    changed.seq, mailbox_seq = changed.mailbox_seq, mailbox_consumed = changed.mailbox_consumed, wake_at = changed.wake_at,
    deadline = changed.deadline, waiting_for = changed.waiting_for, started_at = changed.started_at, completed_at =
    changed.completed_at, updated_at = $2::bigint
FROM jsonb_to_recordset($1::jsonb) AS changed (
    run_id text, status bigint, owner text, turn bigint, attempt bigint, interruptions bigint, streak bigint, tries bigint,
    wanted bigint, undo bigint, seq bigint, mailbox_seq bigint, mailbox_consumed bigint, wake_at bigint, deadline bigint,
    waiting_for text, started_at bigint, completed_at bigint
)
WHERE runs.run_id = changed.run_id
