-- Records as they are now.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO records (collection, id, data)
SELECT value ->> 0, value ->> 1, value ->> 2
FROM jsonb_array_elements($1::jsonb) AS given (value)
ON CONFLICT (collection, id) DO UPDATE SET data = excluded.data
