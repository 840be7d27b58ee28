-- Write runs that changed hands, or their place among the claimable ones.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
UPDATE runs SET
    status = (value ->> 1)::bigint, owner = value ->> 2, turn = (value ->> 3)::bigint, attempt = (value ->> 4)::bigint,
    interruptions = (value ->> 5)::bigint, streak = (value ->> 6)::bigint, tries = (value ->> 7)::bigint,
    wanted = (value ->> 8)::bigint, undo = (value ->> 9)::bigint, seq = (value ->> 10)::bigint,
    mailbox_seq = (value ->> 11)::bigint, mailbox_consumed = (value ->> 12)::bigint, wake_at = (value ->> 13)::bigint,
    deadline = (value ->> 14)::bigint, waiting_for = value ->> 15, started_at = (value ->> 16)::bigint,
    completed_at = (value ->> 17)::bigint, updated_at = $2::bigint
FROM jsonb_array_elements($1::jsonb) AS changed (value)
WHERE runs.run_id = value ->> 0
