-- What was done, by whom.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO audit (audit_id, at, who, action, target, address, result)
SELECT audit_id, at, who, action, target, address, result
FROM jsonb_to_recordset($1::jsonb) AS given (
    audit_id text, at bigint, who text, action text, target text, address text, result text
)
