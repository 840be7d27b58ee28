-- A ticket, unless its key has as many that are good as it may. Added again, it is the same one.
INSERT INTO tickets (ticket_hash, key_id, expires_at)
SELECT $1, $2, $3 WHERE (SELECT count(*) FROM tickets WHERE key_id = $2 AND expires_at > $4) < $5
ON CONFLICT (ticket_hash) DO UPDATE SET expires_at = excluded.expires_at
