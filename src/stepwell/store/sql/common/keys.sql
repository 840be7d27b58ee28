-- All keys, oldest first. A handful of rows.
SELECT key_id, name, secret_hash, scopes, workflows, created_at, triggers_per_second, expires_at, revoked_at, used_at
FROM api_keys ORDER BY created_at, key_id
