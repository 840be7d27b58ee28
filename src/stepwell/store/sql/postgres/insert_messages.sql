-- Messages, with their places in their mailboxes.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO messages (run_id, mailbox_seq, kind, name, message_id, payload, at)
SELECT value ->> 0, (value ->> 1)::bigint, value ->> 2, value ->> 3, value ->> 4, value ->> 5, (value ->> 6)::bigint
FROM jsonb_array_elements($1::jsonb) AS given (value)
