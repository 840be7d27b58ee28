-- A key for a server, unless its id is taken.
INSERT INTO api_keys (key_id, name, secret_hash, scopes, workflows, created_at, triggers_per_second, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (key_id) DO UPDATE SET name = excluded.name WHERE api_keys.secret_hash = excluded.secret_hash
