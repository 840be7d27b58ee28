-- Keys of records. Those that are there already were written while the index was made.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO record_keys (collection, number, key, id)
SELECT collection, number, key, id
FROM jsonb_to_recordset($1::jsonb) AS given (collection text, number bigint, key text, id text)
ON CONFLICT (collection, number, key, id) DO NOTHING
