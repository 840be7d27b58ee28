-- Tickets that nobody has used in time. What is left is a handful of rows.
DELETE FROM tickets WHERE expires_at <= $1
