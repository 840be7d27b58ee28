-- What a batch needs to know of the runs that it touches, $1, and of those who wait for the ones that may end, $2.
-- JSON list of lists, in the order of Draft.
-- Differs because: others write at the same time. All rows are locked here, in the order of their keys, until the commit.
WITH locked AS MATERIALIZED (
    SELECT * FROM runs
    WHERE run_id IN (
        SELECT value FROM jsonb_array_elements_text($1::jsonb)
        UNION
        SELECT waiter FROM waiters WHERE run_id IN (SELECT value FROM jsonb_array_elements_text($2::jsonb))
    ) AND status < 6
    ORDER BY run_id FOR UPDATE
)
SELECT coalesce(json_agg(json_build_array(
    run_id, status, owner, turn, attempt, interruptions, streak, tries, wanted, undo, seq, mailbox_seq, mailbox_consumed, wake_at,
    deadline, timeout_ms, waiting_for, max_events, started_at, completed_at
)), '[]')::text FROM locked
