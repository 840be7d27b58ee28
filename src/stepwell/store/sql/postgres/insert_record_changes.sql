-- What was written to collections, in order.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO record_changes (collection, seq, write_id, changes)
SELECT value ->> 0, (value ->> 1)::bigint, value ->> 2, value ->> 3
FROM jsonb_array_elements($1::jsonb) AS given (value)
