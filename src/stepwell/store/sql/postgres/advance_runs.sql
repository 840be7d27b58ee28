-- Write runs whose history has grown and whose place among the claimable ones is the same.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
UPDATE runs SET seq = changed.seq, waiting_for = changed.waiting_for, updated_at = $2::bigint
FROM jsonb_to_recordset($1::jsonb) AS changed (run_id text, seq bigint, waiting_for text)
WHERE runs.run_id = changed.run_id
