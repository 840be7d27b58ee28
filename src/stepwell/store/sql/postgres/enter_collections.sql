-- Collections that come into being, unless somebody else has made them meanwhile.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO collections (name, settled, seq, created_at, updated_at)
SELECT value ->> 0, value ->> 1, (value ->> 2)::bigint, (value ->> 3)::bigint, (value ->> 4)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (value)
ON CONFLICT (name) DO NOTHING
