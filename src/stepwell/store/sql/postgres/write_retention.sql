-- How long runs are kept once they are over, as the workers of a workflow and version have said last. NULL: for ever.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO retention (workflow, version, kept_ms)
SELECT value ->> 0, value ->> 1, (value ->> 2)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (value)
ON CONFLICT (workflow, version) DO UPDATE SET kept_ms = excluded.kept_ms
