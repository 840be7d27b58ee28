-- Records as they are now.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO records (collection, id, data)
SELECT collection, id, data FROM jsonb_to_recordset($1::jsonb) AS given (collection text, id text, data text)
ON CONFLICT (collection, id) DO UPDATE SET data = excluded.data
