-- Messages, with their places in their mailboxes.
INSERT INTO messages (run_id, mailbox_seq, kind, name, message_id, payload, at) VALUES {rows}
