-- All messages that were ever put into a mailbox and are kept, in order, behind one number.
SELECT mailbox_seq, kind, name, message_id, payload, at FROM messages
WHERE run_id = $1 AND mailbox_seq > $2 ORDER BY mailbox_seq LIMIT $3
