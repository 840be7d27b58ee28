-- A key was used. To be written now and then; it never goes back.
UPDATE api_keys SET used_at = $1 WHERE key_id = $2 AND (used_at IS NULL OR used_at < $1)
