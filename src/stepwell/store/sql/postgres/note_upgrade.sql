-- That the schema was brought up to this program, in the audit log.
-- Differs because: the time is the server's.
INSERT INTO audit (audit_id, at, who, action, target, address, result)
VALUES ($1, {now}, '', 'migrateStore', $2, '', 'done')
