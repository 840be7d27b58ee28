-- What was done, by whom.
INSERT INTO audit (audit_id, at, who, action, target, address, result) VALUES {rows}
