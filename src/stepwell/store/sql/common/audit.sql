-- The audit log in order, from behind an entry.
SELECT audit_id, at, who, action, target, address, result FROM audit WHERE audit_id > $1 ORDER BY audit_id LIMIT $2
