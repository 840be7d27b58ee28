-- Write runs whose history has grown and whose place among the claimable ones is the same.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
UPDATE runs SET seq = (value ->> 1)::bigint, waiting_for = value ->> 2, updated_at = $2::bigint
FROM jsonb_array_elements($1::jsonb) AS changed (value)
WHERE runs.run_id = value ->> 0
