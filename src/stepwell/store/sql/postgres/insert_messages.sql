-- Messages, with their places in their mailboxes.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO messages (run_id, mailbox_seq, kind, name, message_id, payload, at)
SELECT run_id, mailbox_seq, kind, name, message_id, payload, at FROM jsonb_to_recordset($1::jsonb) AS given (
    run_id text, mailbox_seq bigint, kind text, name text, message_id text, payload text, at bigint
)
