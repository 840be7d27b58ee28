-- A ticket is used up. Of two who take it at once, one finds it.
DELETE FROM tickets WHERE ticket_hash = $1 AND expires_at > $2
