-- That the schema was brought up to this program, in the audit log.
INSERT INTO audit (audit_id, at, who, action, target, address, result) VALUES ($1, $2, '', 'migrateStore', $3, '', 'done')
