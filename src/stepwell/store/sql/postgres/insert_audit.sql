-- What was done, by whom.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO audit (audit_id, at, who, action, target, address, result)
SELECT value ->> 0, (value ->> 1)::bigint, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM jsonb_array_elements($1::jsonb) AS given (value)
ON CONFLICT (audit_id) DO NOTHING
