-- Which runs have which tags.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO run_tags (run_id, tag, created_at)
SELECT value ->> 0, value ->> 1, (value ->> 2)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (value)
