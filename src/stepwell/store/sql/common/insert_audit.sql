-- What was done, by whom.
INSERT INTO audit (audit_id, at, who, action, target, address, result) VALUES {rows}
ON CONFLICT (audit_id) DO NOTHING
