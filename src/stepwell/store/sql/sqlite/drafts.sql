-- What a batch needs to know of the runs that it touches. JSON list of lists, in the order of Draft.
SELECT json_group_array(json_array(
    run_id, status, owner, turn, attempt, interruptions, streak, tries, wanted, undo, seq, mailbox_seq, mailbox_consumed, wake_at,
    deadline, timeout_ms, waiting_for, max_events, started_at, completed_at
))
FROM json_each($1) AS asked CROSS JOIN runs ON runs.run_id = asked.value AND status < 6
