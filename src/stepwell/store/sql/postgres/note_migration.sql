-- A migration that is applied. Only its lease's holder says so.
-- Differs because: another node may have taken over.
INSERT INTO migrations (number, name, applied_at)
SELECT $1::bigint, $2, {now} WHERE EXISTS (SELECT 1 FROM leases WHERE name = 'migrate' AND holder = $3)
ON CONFLICT DO NOTHING
