-- Write runs as they were remembered and have become, those that still are what they were: of each [run_id, seq, waiting_for; what
-- turn, seq, mailbox_seq and wanted were]. If it changed hands, or its place among the claimable ones, a row of move_runs follows.
-- Differs because: only where others write at the same time something may have come in between.
UPDATE runs SET
    seq = (value ->> 1)::bigint, waiting_for = value ->> 2, updated_at = $2::bigint,
    status = coalesce((value ->> 8)::bigint, status), turn = coalesce((value ->> 10)::bigint, turn),
    attempt = coalesce((value ->> 11)::bigint, attempt), interruptions = coalesce((value ->> 12)::bigint, interruptions),
    streak = coalesce((value ->> 13)::bigint, streak), tries = coalesce((value ->> 14)::bigint, tries),
    wanted = coalesce((value ->> 15)::bigint, wanted), undo = coalesce((value ->> 16)::bigint, undo),
    mailbox_seq = coalesce((value ->> 18)::bigint, mailbox_seq),
    mailbox_consumed = coalesce((value ->> 19)::bigint, mailbox_consumed),
    owner = CASE WHEN value ->> 7 IS NULL THEN owner ELSE value ->> 9 END,
    wake_at = CASE WHEN value ->> 7 IS NULL THEN wake_at ELSE (value ->> 20)::bigint END,
    deadline = CASE WHEN value ->> 7 IS NULL THEN deadline ELSE (value ->> 21)::bigint END,
    started_at = CASE WHEN value ->> 7 IS NULL THEN started_at ELSE (value ->> 23)::bigint END,
    completed_at = CASE WHEN value ->> 7 IS NULL THEN completed_at ELSE (value ->> 24)::bigint END
FROM jsonb_array_elements($1::jsonb) AS given (value)
WHERE runs.run_id = value ->> 0 AND turn = (value ->> 3)::bigint AND seq = (value ->> 4)::bigint
    AND mailbox_seq = (value ->> 5)::bigint AND wanted = (value ->> 6)::bigint
