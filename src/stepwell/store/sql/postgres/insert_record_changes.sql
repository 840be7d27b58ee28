-- What was written to collections, in order.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO record_changes (collection, seq, write_id, changes)
SELECT collection, seq, write_id, changes
FROM jsonb_to_recordset($1::jsonb) AS given (collection text, seq bigint, write_id text, changes text)
