-- Write runs that changed hands, or their place among the claimable ones.
-- Differs because: OR FAIL, as in insert_events.sql.
WITH changed (
    run_id, status, owner, turn, attempt, interruptions, streak, tries, wanted, undo, seq, mailbox_seq, mailbox_consumed,
    wake_at, deadline, waiting_for, started_at, completed_at
) AS (VALUES {rows})
UPDATE OR FAIL runs SET
    status = changed.status, owner = changed.owner, turn = changed.turn, attempt = changed.attempt,
    interruptions = changed.interruptions, streak = changed.streak, tries = changed.tries, wanted = changed.wanted,
    undo = changed.undo, seq = changed.seq, mailbox_seq = changed.mailbox_seq, mailbox_consumed = changed.mailbox_consumed,
    wake_at = changed.wake_at, deadline = changed.deadline, waiting_for = changed.waiting_for,
    started_at = changed.started_at, completed_at = changed.completed_at, updated_at = ?
FROM changed WHERE runs.run_id = changed.run_id
