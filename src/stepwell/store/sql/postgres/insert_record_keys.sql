-- Keys of records. Those that are there already were written while the index was made.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO record_keys (collection, number, key, id)
SELECT value ->> 0, (value ->> 1)::bigint, value ->> 2, value ->> 3
FROM jsonb_array_elements($1::jsonb) AS given (value)
ON CONFLICT (collection, number, key, id) DO NOTHING
