-- Collections that come into being, unless somebody else has made them meanwhile.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO collections (name, settled, seq, created_at, updated_at)
SELECT name, settled, seq, created_at, updated_at FROM jsonb_to_recordset($1::jsonb) AS given (
    name text, settled text, seq bigint, created_at bigint, updated_at bigint
)
ON CONFLICT (name) DO NOTHING
