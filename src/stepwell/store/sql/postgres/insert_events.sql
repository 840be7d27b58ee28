-- Events, with the numbers that this commit gave them.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO events (run_id, seq, type, step_id, name, payload, at)
SELECT value ->> 0, (value ->> 1)::bigint, value ->> 2, value ->> 3, value ->> 4, value ->> 5, (value ->> 6)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (value)
